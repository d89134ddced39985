// The configuration file (YAML) and the flags of `defib monitor`, read, checked and explained.
//
// Every mistake in a file is found in one go, each with line, column and, for a wrong key, the nearest
// right one. "${NAME}" in a value is taken from the environment; a missing one is a mistake. Values that may be
// secrets (URLs of channels, tokens) never appear in a message.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/policy.h"

namespace defib::app {

struct ChannelConfig {
  std::string name;
  std::string kind;  // "webhook", "slack", "pagerduty", "email"; only webhook is served yet.
  std::string url;   // A secret.
  std::vector<std::pair<std::string, std::string>> headers;
};

struct Config {
  std::string http = "127.0.0.1:7070";
  std::string agents = "127.0.0.1:7379";
  std::string redis;                      // Empty: none.
  std::string data_dir = "./defib-data";  // "memory" keeps nothing.
  std::string state = "journal";          // or "redis"
  std::string name_space;                 // `namespace:` in the file; put before channel and keys with ':'.
  std::string token;                      // A secret; empty: none.
  bool allow_open = false;                // Listening wider than loopback without a token.
  core::Rules rules;
  std::vector<ChannelConfig> channels;
};

struct ConfigMistake {
  std::size_t line = 0;  // From 1; 0: the file as a whole.
  std::size_t column = 0;
  std::string message;  // What was wrong, what was expected, the nearest right name.
};

struct ConfigReading {
  Config config;  // Usable only where `mistakes` is empty.
  std::vector<ConfigMistake> mistakes;
  std::vector<ConfigMistake> warnings;
};

// Reads YAML text. Never throws; never touches the network; reads no file but what it is given.
ConfigReading read_config(std::string_view yaml);
// The same for a file; an unreadable file is one mistake.
ConfigReading read_config_file(const std::string& path);
// "FILE:line:column: message", as editors jump to it; no place for the file as a whole. `kind`: "" or "warning: ".
std::string mistake_line(std::string_view file, const ConfigMistake& mistake, std::string_view kind);
// What is checked once flags have been laid over the file (listening wide without a token, ...).
std::vector<ConfigMistake> check_config(const Config& config);

}  // namespace defib::app
