#include "run/monitor_url.h"

#include <charconv>
#include <fmt/format.h>
#include <optional>

namespace defib::run {
namespace {

constexpr std::string_view kExpected =
    "expected redis://[user:password@]host[:port][/db], http://host[:port][/path] or https://host[:port][/path]";

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

template <typename T>
bool parse_whole(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// host, host:port, [v6], [v6]:port. Nothing else is a host: no control characters, spaces or further '@'.
bool read_host(std::string_view authority, MonitorUrl& url) {
  std::string_view port;
  if (authority.starts_with('[')) {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) return false;
    url.host = authority.substr(1, end - 1);
    port = authority.substr(end + 1);
    if (!port.empty() && !port.starts_with(':')) return false;
  } else {
    const std::size_t colon = authority.find(':');
    url.host = authority.substr(0, colon);
    port = colon == std::string_view::npos ? std::string_view() : authority.substr(colon);
  }
  if (url.host.empty() || url.host.size() > 253) return false;
  for (const char c : url.host) {
    const bool is_ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
                       c == '-' || c == '_' || c == ':' || c == '%';
    if (!is_ok) return false;
  }
  if (port.empty()) return true;
  std::uint16_t number = 0;
  if (!parse_whole(port.substr(1), number) || number == 0) return false;
  url.port = std::to_string(number);
  return true;
}

}  // namespace

std::string MonitorUrl::printable() const {
  const std::string_view name = is_redis() ? "redis" : scheme == Scheme::http ? "http" : "https";
  const bool is_v6 = host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}", name, is_v6 ? "[" : "", host, is_v6 ? "]" : "", port);
}

Result<MonitorUrl> parse_monitor_url(std::string_view text) {
  const Error bad{fmt::format("the monitor's URL is not understood: {}", kExpected)};
  const std::size_t scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos) return bad;
  const std::string_view scheme = text.substr(0, scheme_end);
  MonitorUrl url;
  if (scheme == "redis") {
    url.scheme = MonitorUrl::Scheme::redis;
    url.port = "7379";
  } else if (scheme == "http") {
    url.scheme = MonitorUrl::Scheme::http;
    url.port = "7070";
  } else if (scheme == "https") {
    url.scheme = MonitorUrl::Scheme::https;
    url.port = "443";
  } else if (scheme == "rediss" || scheme == "unix" || scheme == "redis+unix" || scheme == "redis+socket") {
    return Error{fmt::format("{}:// is not served yet by `defib run`: use redis://, http:// or https://", scheme)};
  } else {
    return bad;
  }
  std::string_view rest = text.substr(scheme_end + 3);
  const std::size_t path_begin = std::min(rest.find_first_of("/?#"), rest.size());
  std::string_view authority = rest.substr(0, path_begin);
  std::string_view path = rest.substr(path_begin);
  if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos) {
    const std::string_view login = authority.substr(0, at);
    authority.remove_prefix(at + 1);
    const std::size_t colon = login.find(':');
    const auto user = percent_decode(login.substr(0, colon));
    const auto password = colon == std::string_view::npos ? std::string() : percent_decode(login.substr(colon + 1));
    if (!user || !password) return bad;
    url.user = *user;
    url.password = *password;
  }
  if (!read_host(authority, url)) return bad;
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path.find_first_of("?# \r\n") != std::string_view::npos) return bad;
  if (!url.is_redis()) {
    url.path = path;
  } else if (!path.empty() && !parse_whole(path.substr(1), url.database)) {
    return bad;
  }
  return url;
}

}  // namespace defib::run
