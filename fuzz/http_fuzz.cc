// The strict look at HTTP heads: whatever passes it can be read in one way only, however it arrives.
#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "net/http_head.h"

namespace {

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

// What an accepted head must not hold, told from its bytes alone and not from the parser's view of them.
void check_accepted(std::string_view head) {
  std::string lower(head);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
  const std::size_t lengths = count(lower, "\r\ncontent-length:");
  const std::size_t encodings = count(lower, "\r\ntransfer-encoding:");
  DEFIB_CHECK(count(lower, "\r\nhost:") <= 1);
  DEFIB_CHECK(lengths + encodings <= 1);
  DEFIB_CHECK(lower.find('\0') == std::string::npos);
  DEFIB_CHECK(lower.find("\r\n ") == std::string::npos && lower.find("\r\n\t") == std::string::npos);
  DEFIB_CHECK(count(lower, "\n") == count(lower, "\r\n") && count(lower, "\r") == count(lower, "\r\n"));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);

  // In one piece and byte by byte: the same end, or the same refusal.
  const defib::net::HeadScan whole = defib::net::scan_head(bytes, 0);
  defib::net::HeadScan piecewise;
  for (std::size_t i = 1; i <= size && piecewise.end == 0 && !piecewise.fault; ++i) {
    piecewise = defib::net::scan_head(bytes.substr(0, i), i - 1);
  }
  DEFIB_CHECK(whole.end == piecewise.end);
  DEFIB_CHECK(whole.fault.has_value() == piecewise.fault.has_value());

  // Also bytes that no scan let through: the check stands on its own.
  (void)defib::net::check_head(bytes);
  if (whole.end > 0) {
    const std::string_view head = bytes.substr(0, whole.end);
    if (!defib::net::check_head(head)) check_accepted(head);
  }

  if (const auto target = defib::net::parse_target(bytes)) {
    DEFIB_CHECK(target->path.starts_with('/'));
    DEFIB_CHECK(target->path.size() <= size);
    DEFIB_CHECK(std::none_of(target->path.begin(), target->path.end(),
                             [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }));
    DEFIB_CHECK(target->query.size() <= defib::net::kHttpParametersMax);
  }
  return 0;
}
