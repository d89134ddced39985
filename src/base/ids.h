// The grammar of agent ids. An id is data that ends up in argument lists, URLs, keys and container
// names, so the door is narrow: 1 to 128 of A-Z a-z 0-9 . _ : -, not beginning with '-' or '.'.
#pragma once

#include <cstddef>
#include <string_view>

namespace defib {

inline constexpr std::size_t kAgentIdBytesMax = 128;

inline constexpr std::string_view kAgentIdRule =
    "an agent id is 1 to 128 of A-Z a-z 0-9 . _ : - and does not begin with '-' or '.'";

constexpr bool is_valid_agent_id(std::string_view id) {
  if (id.empty() || id.size() > kAgentIdBytesMax || id.front() == '-' || id.front() == '.') return false;
  for (const char c : id) {
    const bool is_ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
                       c == '_' || c == ':' || c == '-';
    if (!is_ok) return false;
  }
  return true;
}

}  // namespace defib
