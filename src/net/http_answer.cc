#include "net/http_answer.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <fmt/format.h>

#include "base/time.h"
#include "net/loop.h"

namespace defib::net {

namespace {

// For people who look at the wire; programs read the number (RFC 9112, 4). So any other status has none.
std::string_view reason_phrase(unsigned status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 421:
      return "Misdirected Request";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "";
  }
}

std::string http_date() {
  const std::time_t seconds = static_cast<std::time_t>(to_ms(read_wall()) / 1000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 40> text{};
  return std::string(text.data(), std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts));
}

// A line break in a value would be a header of somebody else's making.
bool is_sendable(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

bool is_cache_control(std::string_view name) {
  constexpr std::string_view kName = "cache-control";
  return std::equal(name.begin(), name.end(), kName.begin(), kName.end(),
                    [](char a, char b) { return (a | 0x20) == (b | 0x20); });
}

}  // namespace

std::string make_answer_head(const HttpResponse& response, std::string_view framing) {
  std::string head = fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\nX-Content-Type-Options: nosniff\r\n", response.status,
                                 reason_phrase(response.status), http_date());
  if (!response.content_type.empty() && is_sendable(response.content_type)) {
    head += fmt::format("Content-Type: {}\r\n", response.content_type);
  }
  bool has_cache_control = false;
  for (const auto& [name, value] : response.headers) {
    if (!is_sendable(name) || !is_sendable(value)) continue;
    has_cache_control = has_cache_control || is_cache_control(name);
    head += fmt::format("{}: {}\r\n", name, value);
  }
  if (!has_cache_control) head += "Cache-Control: no-store\r\n";
  head += framing;
  head += "\r\n";
  return head;
}

HttpResponse fault_answer(const HttpFault& fault) {
  return {.status = fault.status,
          .body = fmt::format(R"({{"error":"{}","code":"{}","hint":"{}"}})", fault.error, fault.code, fault.hint)};
}

}  // namespace defib::net
