// Deadlines for many keys: a hierarchical wheel (Varghese and Lauck, 1987), seven levels of 64 slots.
//
// One deadline a key. A tick is 2^18 ns (0.262 ms), so a deadline fires at most a tick late and never
// early; anything further than 64^7 ticks (36 years of
// uptime) away is fired then and must be armed again. arm, disarm and
// each firing cost O(1) amortised; next() looks at one bitmap a level. Pure; `now` never decreases.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/time.h"

namespace defib::core {

class TimerWheel {
 public:
  using Key = std::uint32_t;

  // Sets the key's deadline, replacing any it had.
  void arm(Key key, Instant deadline);
  void disarm(Key key);
  // The key's deadline, kNever where it has none.
  Instant deadline(Key key) const;

  // Appends the keys whose deadline has come, disarmed; by tick, then in the order of arming.
  void expire(Instant now, std::vector<Key>& due);
  // A time at or before the earliest deadline at which expire() should be called; kNever where none is armed.
  Instant next() const;

 private:
  static constexpr int kLevels = 7;
  static constexpr int kSlotBits = 6;
  static constexpr std::uint32_t kSlots = 1U << kSlotBits;
  static constexpr int kTickShift = 18;
  static constexpr Key kNone = ~Key{0};

  struct Node {
    Instant deadline = kNever;
    Key previous = kNone;
    Key next = kNone;
    std::uint16_t slot = kUnarmed;  // level * kSlots + index
  };
  static constexpr std::uint16_t kUnarmed = 0xffff;
  struct List {
    Key first = kNone;
    Key last = kNone;
  };

  static std::int64_t tick_at_or_after(Instant t);
  void place(Key key, std::int64_t tick);
  void append(Key key, int level, std::uint32_t index);
  void unlink(Key key);
  void cascade(int level, std::uint32_t index);

  std::vector<Node> nodes_;
  std::array<List, kLevels * kSlots> slots_{};
  std::array<std::uint64_t, kLevels> occupied_{};
  std::int64_t now_tick_ = 0;  // All ticks at or before it have been fired.
};

}  // namespace defib::core
