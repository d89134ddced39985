// Where the monitor is: redis://[user:password@]host[:port][/db], http://host[:port][/path], https://...
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace defib::run {

struct MonitorUrl {
  enum class Scheme : std::uint8_t { redis, http, https };
  Scheme scheme = Scheme::redis;
  std::string host;  // Without the brackets of an IPv6 address.
  std::string port;
  std::string user;  // Decoded; a secret like the password.
  std::string password;
  std::uint32_t database = 0;
  std::string path;  // Of HTTP, without a '/' at its end.

  bool is_redis() const { return scheme == Scheme::redis; }
  // For people: scheme, host and port, never a secret.
  std::string printable() const;
};

inline constexpr std::string_view kDefaultMonitorUrl = "redis://127.0.0.1:7379";

// The error names what was expected and holds no part of the URL besides its scheme.
Result<MonitorUrl> parse_monitor_url(std::string_view url);

}  // namespace defib::run
