// Server-sent events out of bytes, however they are cut (WHATWG HTML, "event stream").
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace defib::app {

struct ApiEvent {
  std::string id;
  std::string name;
  std::string data;
};

class SseReader {
 public:
  // A line past this, and an event whose data is past it, are cut there.
  static constexpr std::size_t kBytesMax = 256 * 1024;

  // Calls `take` for each event that is complete; false where `take` answered false, and then reads no further.
  bool read(std::string_view bytes, const std::function<bool(const ApiEvent&)>& take);
  // The id of the last complete event, kept over reset(): for Last-Event-ID.
  const std::string& last_id() const { return last_id_; }
  // The connection broke: what is half read will be sent again.
  void reset();

 private:
  bool end_line(const std::function<bool(const ApiEvent&)>& take);

  std::string line_;
  bool is_after_return_ = false;
  ApiEvent event_;
  std::string last_id_;
};

}  // namespace defib::app
