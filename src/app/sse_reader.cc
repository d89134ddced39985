#include "app/sse_reader.h"

#include <utility>

namespace defib::app {

bool SseReader::read(std::string_view bytes, const std::function<bool(const ApiEvent&)>& take) {
  for (const char c : bytes) {
    // "\r\n" is one line end.
    const bool is_second_half = c == '\n' && is_after_return_;
    is_after_return_ = c == '\r';
    if (is_second_half) continue;
    if (c != '\n' && c != '\r') {
      if (line_.size() < kBytesMax) line_ += c;
      continue;
    }
    const bool goes_on = end_line(take);
    line_.clear();
    if (!goes_on) return false;
  }
  return true;
}

bool SseReader::end_line(const std::function<bool(const ApiEvent&)>& take) {
  if (line_.empty()) {
    ApiEvent complete = std::exchange(event_, {});
    if (complete.data.empty()) return true;
    complete.data.pop_back();
    if (!complete.id.empty()) last_id_ = complete.id;
    return take(complete);
  }
  const std::string_view line = line_;
  const std::size_t colon = line.find(':');
  const std::string_view field = line.substr(0, colon);
  std::string_view value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "data" && event_.data.size() + value.size() < kBytesMax) {
    event_.data += value;
    event_.data += '\n';
  } else if (field == "event") {
    event_.name = value;
  } else if (field == "id") {
    event_.id = value;
  }
  return true;
}

void SseReader::reset() {
  line_.clear();
  is_after_return_ = false;
  event_ = {};
}

}  // namespace defib::app
