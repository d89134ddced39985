// What each subcommand was asked, checked and typed; made by app/arguments.cc, obeyed by the cmd_*.cc. What
// `defib run` was asked are the options of its own room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/time.h"
#include "run/run_program.h"

namespace defib::app {

// `defib monitor`. What is not given is left to the file, then to the defaults of Config.
struct MonitorFlags {
  std::optional<std::string> config;
  std::optional<std::string> http;
  std::optional<std::string> agents;
  std::optional<std::string> redis;
  std::optional<std::string> data_dir;
  std::optional<std::string> state;
  std::optional<std::string> token;  // --token, else DEFIB_TOKEN. A secret.
};

// Whom a subcommand asks, and how it answers.
struct ServerFlags {
  std::string server;  // "http://127.0.0.1:7070", without a slash at the end.
  std::string token;   // A secret; empty: none.
  bool is_json = false;
};

enum class PingKind : std::uint8_t { beat, start, fail, log, exit_code };

struct PingFlags {
  ServerFlags server;
  std::string id;
  PingKind kind = PingKind::beat;
  std::string text;             // Of `log`.
  std::uint32_t exit_code = 0;  // 0 to 255.
  std::string type;             // Empty: not told.
  std::string interval;         // A duration; empty: not told, so that the policy's holds.
};

struct AgentsFlags {
  ServerFlags server;
  std::string state;  // Empty: any.
  std::string type;
  std::string text;  // A part of the id.
  std::size_t limit = 1000;
};

struct AgentFlags {
  ServerFlags server;
  std::string id;
};

struct WhyFlags {
  ServerFlags server;
  std::string id;
};

struct IncidentsFlags {
  ServerFlags server;
  std::string state = "all";  // "open", "closed" or "all".
  std::size_t limit = 50;
  std::uint64_t number = 0;  // Not 0: this one alone, with its attempts.
};

struct EventsFlags {
  ServerFlags server;
  bool follows = false;
  std::size_t last = 50;  // Of those before now.
};

struct RecoverFlags {
  ServerFlags server;
  std::string id;
  bool force = false;
};

enum class IncidentWish : std::uint8_t { acknowledge, close };

struct IncidentWishFlags {
  ServerFlags server;
  IncidentWish wish = IncidentWish::acknowledge;
  std::uint64_t number = 0;
};

struct CheckConfigFlags {
  std::string file;
};

struct VersionFlags {};

using Flags = std::variant<MonitorFlags, run::RunOptions, PingFlags, AgentsFlags, AgentFlags, WhyFlags, IncidentsFlags,
                           EventsFlags, RecoverFlags, IncidentWishFlags, CheckConfigFlags, VersionFlags>;

}  // namespace defib::app
