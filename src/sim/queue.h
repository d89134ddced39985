// What is due in the pretend world, earliest first; ties in the order in which they were added, so that
// one seed gives one run.
#pragma once

#include <cstdint>
#include <queue>
#include <vector>

#include "base/time.h"

namespace defib::sim {

enum class Due : std::uint8_t {
  beat,          // a: process, b: its generation; the process sends its next beat.
  arrival,       // a: message; it reaches the monitor's host.
  journal,       // The oldest record that waits is written.
  action_takes,  // a: action; it takes effect in the world.
  action_ends,   // a: action; its adapter reports.
  delivery,      // a: place in the list of deliveries.
  boot,          // a: agent, b: place in the list of boots; a new process comes up.
  obey,          // a: process; it stops because it was told to.
  thaw,          // a: process, b: its generation.
  vanish,        // a: process; a twin goes away.
  fault,         // The next fault of the plan.
  monitor_back,  // The monitor starts again.
  redis_blind,   // The monitor's canary is late.
  redis_back,    // b: the broker restarted.
  journal_back,
  repair,   // a: agent; a person starts it again, if it is still dead.
  overdue,  // a: agent; by now it must have been found.
  audit,    // The checkers look at what has been open for long.
};

struct Timer {
  Instant at{};
  std::uint64_t order = 0;
  Due due = Due::fault;
  std::uint32_t a = 0;
  std::uint32_t b = 0;
};

class Queue {
 public:
  void add(Instant at, Due due, std::uint32_t a = 0, std::uint32_t b = 0) { heap_.push({at, ++order_, due, a, b}); }
  Instant next() const { return heap_.empty() ? kNever : heap_.top().at; }
  // Only where next() is not kNever.
  Timer take() {
    const Timer first = heap_.top();
    heap_.pop();
    return first;
  }

 private:
  struct Later {
    bool operator()(const Timer& left, const Timer& right) const {
      return left.at != right.at ? left.at > right.at : left.order > right.order;
    }
  };
  std::priority_queue<Timer, std::vector<Timer>, Later> heap_;
  std::uint64_t order_ = 0;
};

}  // namespace defib::sim
