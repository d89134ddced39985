// What the runner says to the monitor, and what it hears: the wire's JSON, made and read.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "core/types.h"
#include "run/process_tree.h"

namespace defib::run {

// One life of the program.
struct Instance {
  std::string agent_id;
  std::string agent_type;
  std::string host;
  std::string id;  // 16 hex digits, or what DEFIB_INSTANCE said.
  pid_t pid = 0;
  WallTime started_at{};
  Duration interval{};
  std::uint64_t sequence = 0;  // Of the last message; the next one is above it.
};

struct ExitReport {
  int code = 0;  // Where signal is 0.
  int signal = 0;
  std::string output;         // The last bytes, as they came; core::kOutputTailBytesMax at most.
  bool is_restarted = false;  // At once, within a grant.
  std::uint32_t spent = 0;
};

using HashFields = std::vector<std::pair<std::string, std::string>>;

// One thing to say: a message for the channel of beats (empty: none) and fields for the agent's hash (none: no write).
struct Message {
  std::string json;
  HashFields fields;
};

// Each of these but the registration takes the instance's next sequence number.
Message registration_message(const Instance& instance);
Message beat_message(Instance& instance, WallTime now, const TreeUsage& usage);
Message exit_message(Instance& instance, WallTime now, const ExitReport& report);
// A clean end; with the exit status where the program has ended by itself.
Message goodbye_message(Instance& instance, WallTime now, const std::optional<ExitReport>& end);

// A command on the control channel, or in an answer to POST /v1/heartbeats.
struct ControlCommand {
  std::string id;
  std::string command;
  std::string agent_id;
  std::string instance_id;  // Empty: any.
  std::string reason;
  std::int64_t expires_in_ms = 0;
  std::uint32_t restarts = 0;
};

Result<ControlCommand> parse_command(std::string_view json);
// The commands in an answer to POST /v1/heartbeats; those that can't be read are left out.
std::vector<ControlCommand> parse_answer_commands(std::string_view json);

// Remembers the last commands, so that one that comes twice is carried out once.
class CommandMemory {
 public:
  static constexpr std::size_t kCommandsMax = 64;
  // False where this command was seen before.
  bool remember(const ControlCommand& command);

 private:
  std::deque<std::string> seen_;
};

}  // namespace defib::run
