// The strict look at the head of an HTTP/1.x request, before the lenient parser (Boost.Beast) sees it.
//
// Two programs that read one head differently let a request hide inside another ("smuggling"), so whatever
// could be read in two ways is refused here. Pure: bytes in, verdict out; fuzzed by fuzz/http_fuzz.cc.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace defib::net {

inline constexpr std::size_t kHttpFieldsMax = 100;
inline constexpr std::size_t kHttpParametersMax = 256;

// Why a request is refused, as it goes out: {error, code, hint} with the status. All are string constants.
struct HttpFault {
  unsigned status = 400;
  std::string_view code;
  std::string_view error;
  std::string_view hint;
};

// How far the head has come: `end` is the offset behind its empty line, 0 while bytes are missing. A byte that
// no head may hold (NUL, a bare CR or LF, an empty first line) is a fault as soon as it arrives.
struct HeadScan {
  std::size_t end = 0;
  std::optional<HttpFault> fault;
};
// Bytes before `from` have been scanned by an earlier call.
HeadScan scan_head(std::string_view bytes, std::size_t from);

// What is wrong with a whole head (with its empty line), if anything: the request line, each field, and what
// they say together of the body's length.
std::optional<HttpFault> check_head(std::string_view head);

struct HttpTarget {
  std::string path;  // Decoded; begins with '/', holds no control character. Dot segments are left as text.
  std::vector<std::pair<std::string, std::string>> query;  // Decoded, '+' is a space; at most kHttpParametersMax.
};
// Only "/path?query"; nullopt for any other form, for an escape that is none, and for "%00".
std::optional<HttpTarget> parse_target(std::string_view target);

}  // namespace defib::net
