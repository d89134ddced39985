// What one turn of the runner's loop waits for: a plain poll(2) set, made anew each turn.
//
// A dozen descriptors at most, so there is nothing to gain from epoll, and nothing to keep in step.
#pragma once

#include <algorithm>
#include <cstddef>
#include <ctime>
#include <poll.h>
#include <vector>

#include "base/time.h"

namespace defib::run {

class PollSet {
 public:
  void clear() { entries_.clear(); }

  // Waits for `events` (POLLIN, POLLOUT) on `fd`; a negative fd is never ready. Returns its slot in this turn.
  std::size_t add(int fd, short events) {
    entries_.push_back({fd, events, 0});
    return entries_.size() - 1;
  }

  // What is ready in a slot of this turn, POLLERR and POLLHUP included; 0 for a slot that is not in it.
  short ready(std::size_t slot) const { return slot < entries_.size() ? entries_[slot].revents : short{0}; }

  // Waits until something is ready or `wait` is over. An interrupted wait counts as one in which nothing was.
  void wait(Duration wait) {
    wait = std::clamp(wait, Duration::zero(), Duration(24h));
    const timespec limit{.tv_sec = static_cast<time_t>(wait / Duration(1s)),
                         .tv_nsec = static_cast<long>((wait % Duration(1s)).count())};
    if (ppoll(entries_.data(), entries_.size(), &limit, nullptr) < 0) {
      for (pollfd& entry : entries_) entry.revents = 0;
    }
  }

 private:
  std::vector<pollfd> entries_;
};

// No slot: its descriptor is not in this turn's set.
inline constexpr std::size_t kNoSlot = static_cast<std::size_t>(-1);

}  // namespace defib::run
