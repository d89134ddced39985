#include "net/http_head.h"

#include <algorithm>
#include <array>

namespace defib::net {

namespace {

constexpr std::string_view kCurlHint = "send a plain HTTP/1.1 request, as curl does";

constexpr HttpFault bad(std::string_view code, std::string_view error, std::string_view hint = kCurlHint) {
  return {.status = 400, .code = code, .error = error, .hint = hint};
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

bool is_token(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  const auto is_token_char = [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kMarks.find(c) != std::string_view::npos;
  };
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char);
}

bool is_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// `name` is in lower case.
bool is_named(std::string_view field, std::string_view name) {
  return std::equal(field.begin(), field.end(), name.begin(), name.end(), [](char a, char b) { return lower(a) == b; });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Host and port as written in a URL: a list, a user or a path in there is somebody's trick.
bool is_host(std::string_view text) {
  constexpr std::string_view kMarks = ".-_:[]%";
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kMarks.find(c) != std::string_view::npos;
  });
}

// The fields that decide where a request ends and whom it is for.
struct Framing {
  bool is_version_1_0 = false;
  int hosts = 0;
  int lengths = 0;
  int encodings = 0;
};

std::optional<HttpFault> check_method(std::string_view method) {
  constexpr std::array<std::string_view, 7> kServed = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
  if (!is_token(method)) return bad("bad_request_line", "the request line does not begin with a method");
  if (std::find(kServed.begin(), kServed.end(), method) != kServed.end()) return {};
  if (method == "TRACE" || method == "CONNECT") {
    return HttpFault{405, "method_not_allowed", "this method is not served here", "use GET or POST"};
  }
  return HttpFault{501, "method_unknown", "this method is not known here", "use GET or POST"};
}

std::optional<HttpFault> check_request_line(std::string_view line, Framing& framing) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return bad("bad_request_line", "the request line is not METHOD TARGET HTTP/1.1");
  }
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (auto fault = check_method(line.substr(0, first))) return fault;
  if (target.empty() || std::any_of(target.begin(), target.end(), [](char c) {
        return is_control(c) || c == ' ' || static_cast<unsigned char>(c) > 0x7e;
      })) {
    return bad("bad_target", "the target holds a space, a control character or a byte outside ASCII",
               "percent-encode it");
  }
  framing.is_version_1_0 = version == "HTTP/1.0";
  if (framing.is_version_1_0 || version == "HTTP/1.1") return {};
  if (version.size() == 8 && version.starts_with("HTTP/") && version[6] == '.' && is_digits(version.substr(5, 1)) &&
      is_digits(version.substr(7, 1))) {
    return HttpFault{505, "version_not_supported", "only HTTP/1.1 and HTTP/1.0 are spoken here", kCurlHint};
  }
  return bad("bad_request_line", "the request line does not end with HTTP/1.1");
}

std::optional<HttpFault> check_field(std::string_view line, Framing& framing) {
  if (line.front() == ' ' || line.front() == '\t') {
    return bad("folded_header", "a header line begins with white space (obsolete folding)",
               "write each header on one line");
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
    return bad("bad_header", "a header line is not NAME: VALUE");
  }
  const std::string_view field = line.substr(0, colon);
  const std::string_view value = trim(line.substr(colon + 1));
  if (std::any_of(value.begin(), value.end(), [](char c) { return is_control(c) && c != '\t'; })) {
    return bad("bad_header", "a header holds a control character");
  }
  if (is_named(field, "host")) {
    ++framing.hosts;
    if (!is_host(value)) return bad("bad_host", "the Host header is not HOST or HOST:PORT");
  } else if (is_named(field, "content-length")) {
    ++framing.lengths;
    // 18 digits fit into 64 bits; what fits into the bound on bodies is looked at later.
    if (!is_digits(value) || value.size() > 18) return bad("bad_length", "Content-Length is not one number");
  } else if (is_named(field, "transfer-encoding")) {
    ++framing.encodings;
    if (!is_named(value, "chunked")) {
      return HttpFault{501, "encoding_unknown", "this Transfer-Encoding is not known here", "send \"chunked\" or none"};
    }
  }
  return {};
}

std::optional<HttpFault> check_framing(const Framing& framing) {
  if (framing.hosts > 1) return bad("repeated_host", "there is more than one Host header");
  if (framing.hosts == 0 && !framing.is_version_1_0) return bad("missing_host", "the Host header is missing");
  if (framing.lengths > 1) return bad("repeated_length", "there is more than one Content-Length header");
  if (framing.encodings > 1) return bad("repeated_encoding", "there is more than one Transfer-Encoding header");
  if (framing.encodings > 0 && framing.lengths > 0) {
    return bad("two_lengths", "there are both Content-Length and Transfer-Encoding");
  }
  if (framing.encodings > 0 && framing.is_version_1_0) {
    return bad("encoding_in_1_0", "HTTP/1.0 has no Transfer-Encoding");
  }
  return {};
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (lower(c) >= 'a' && lower(c) <= 'f') return lower(c) - 'a' + 10;
  return -1;
}

std::optional<std::string> decode(std::string_view text, bool is_query) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
      if (c == '\0') return std::nullopt;
    } else if (c == '+' && is_query) {
      c = ' ';
    }
    if (!is_query && is_control(c)) return std::nullopt;
    out.push_back(c);
  }
  return out;
}

}  // namespace

HeadScan scan_head(std::string_view bytes, std::size_t from) {
  for (std::size_t i = from; i < bytes.size(); ++i) {
    const char c = bytes[i];
    const char before = i > 0 ? bytes[i - 1] : '\0';
    if (c == '\0') return {.fault = bad("nul_in_head", "the head holds a NUL byte")};
    if ((c == '\n') != (before == '\r')) {
      return {.fault = bad("bare_line_end", "a line of the head does not end with CR LF")};
    }
    if (c == '\n' && i == 1) return {.fault = bad("bad_request_line", "the request line is empty")};
    if (c == '\n' && i >= 3 && bytes[i - 2] == '\n') return {.end = i + 1};
  }
  return {};
}

std::optional<HttpFault> check_head(std::string_view head) {
  Framing framing;
  std::size_t fields = 0;
  bool is_request_line = true;
  while (!head.empty()) {
    const std::size_t end = head.find("\r\n");
    if (end == std::string_view::npos) return bad("bad_header", "the head ends within a line");
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(end + 2);
    if (line.empty())
      return is_request_line ? bad("bad_request_line", "the request line is empty") : check_framing(framing);
    auto fault = is_request_line ? check_request_line(line, framing) : check_field(line, framing);
    if (fault) return fault;
    if (!is_request_line && ++fields > kHttpFieldsMax) {
      return HttpFault{431, "too_many_headers", "there are more than 100 headers", "send fewer"};
    }
    is_request_line = false;
  }
  return bad("bad_header", "the head ends without an empty line");
}

std::optional<HttpTarget> parse_target(std::string_view target) {
  if (!target.starts_with('/') || target.find('#') != std::string_view::npos) return std::nullopt;
  const std::size_t question = target.find('?');
  auto path = decode(target.substr(0, question), false);
  if (!path) return std::nullopt;
  HttpTarget out{.path = std::move(*path)};
  if (question == std::string_view::npos) return out;

  std::string_view rest = target.substr(question + 1);
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (pair.empty()) continue;
    const std::size_t equals = std::min(pair.find('='), pair.size());
    auto name = decode(pair.substr(0, equals), true);
    auto value = decode(pair.substr(std::min(equals + 1, pair.size())), true);
    if (!name || !value || out.query.size() == kHttpParametersMax) return std::nullopt;
    out.query.emplace_back(std::move(*name), std::move(*value));
  }
  return out;
}

}  // namespace defib::net
