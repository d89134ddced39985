#include "run/monitor_link.h"

#include <algorithm>
#include <fmt/format.h>

namespace defib::run {

ReconnectDelay::ReconnectDelay(Duration interval, std::uint64_t seed)
    : prng_(seed), cap_(std::clamp(interval, kFirst, kCap)) {}

Duration ReconnectDelay::next() {
  const Duration delay(prng_.between((next_ / 2).count(), next_.count()));
  next_ = std::min(next_ * 2, cap_);
  return delay;
}

void OutageTeller::on_success() {
  since_ = kNever;
  is_told_ = false;
}

void OutageTeller::on_failure(Instant now, const std::string& monitor, const std::string& reason,
                              std::vector<LinkEvent>& events) {
  since_ = std::min(since_, now);
  if (is_told_ || now - since_ < kQuietFor) return;
  is_told_ = true;
  events.push_back({.kind = LinkEvent::Kind::trouble,
                    .text = fmt::format("no monitor at {} ({}); the program runs on, and the monitor is tried again",
                                        monitor, reason)});
}

}  // namespace defib::run
