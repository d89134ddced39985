#include "core/timer_wheel.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/check.h"

namespace defib::core {

std::int64_t TimerWheel::tick_at_or_after(Instant t) {
  // Rounded up, so that nothing fires early. Deadlines before the epoch (rebased ones) are all overdue.
  const std::int64_t ns = t.time_since_epoch().count();
  if (ns <= 0) return 0;
  return ((ns - 1) >> kTickShift) + 1;
}

void TimerWheel::arm(Key key, Instant deadline) {
  if (key >= nodes_.size()) nodes_.resize(key + 1);
  if (nodes_[key].slot != kUnarmed) unlink(key);
  nodes_[key].deadline = deadline;
  place(key, tick_at_or_after(deadline));
}

void TimerWheel::disarm(Key key) {
  if (key >= nodes_.size() || nodes_[key].slot == kUnarmed) return;
  unlink(key);
  nodes_[key].deadline = kNever;
}

Instant TimerWheel::deadline(Key key) const {
  return key < nodes_.size() && nodes_[key].slot != kUnarmed ? nodes_[key].deadline : kNever;
}

// The level is that of the highest six-bit digit in which tick and now differ: slots there are ahead of
// the wheel's hand, so each level's bitmap read upward from the hand is in time order.
void TimerWheel::place(Key key, std::int64_t tick) {
  tick = std::max(tick, now_tick_ + 1);
  const std::int64_t reach = (std::int64_t{1} << (kLevels * kSlotBits)) - 1;
  if ((tick ^ now_tick_) > reach) tick = now_tick_ | reach;
  int level = 0;
  const auto difference = static_cast<std::uint64_t>(tick ^ now_tick_);
  if (difference != 0) level = (63 - std::countl_zero(difference)) / kSlotBits;
  append(key, level, static_cast<std::uint32_t>((tick >> (level * kSlotBits)) & (kSlots - 1)));
}

void TimerWheel::append(Key key, int level, std::uint32_t index) {
  const auto slot = static_cast<std::uint16_t>(static_cast<std::uint32_t>(level) * kSlots + index);

  Node& node = nodes_[key];
  List& list = slots_[slot];
  node.slot = slot;
  node.next = kNone;
  node.previous = list.last;
  if (list.last != kNone) nodes_[list.last].next = key;
  list.last = key;
  if (list.first == kNone) list.first = key;
  occupied_[static_cast<std::size_t>(level)] |= std::uint64_t{1} << index;
}

void TimerWheel::unlink(Key key) {
  Node& node = nodes_[key];
  List& list = slots_[node.slot];
  (node.previous == kNone ? list.first : nodes_[node.previous].next) = node.next;
  (node.next == kNone ? list.last : nodes_[node.next].previous) = node.previous;
  if (list.first == kNone) occupied_[node.slot / kSlots] &= ~(std::uint64_t{1} << (node.slot % kSlots));
  node.slot = kUnarmed;
}

// Moves a slot's keys to lower levels, now that the hand has reached it.
void TimerWheel::cascade(int level, std::uint32_t index) {
  const std::size_t slot = static_cast<std::size_t>(level) * kSlots + index;
  Key key = slots_[slot].first;
  slots_[slot] = List{};
  occupied_[static_cast<std::size_t>(level)] &= ~(std::uint64_t{1} << index);
  while (key != kNone) {
    const Key following = nodes_[key].next;
    nodes_[key].slot = kUnarmed;
    const std::int64_t tick = tick_at_or_after(nodes_[key].deadline);
    // A tick equal to the hand's is fired in this very turn: place() would push it one on.
    if (tick <= now_tick_) {
      append(key, 0, static_cast<std::uint32_t>(now_tick_ & (kSlots - 1)));
    } else {
      place(key, tick);
    }
    key = following;
  }
}

void TimerWheel::expire(Instant now, std::vector<Key>& due) {
  // The last tick that is wholly past.
  const std::int64_t ns = std::max<std::int64_t>(0, now.time_since_epoch().count());
  const std::int64_t target = ns >> kTickShift;
  while (now_tick_ < target) {
    // Skip to the next tick at which anything can happen: an occupied slot of level 0, or a cascade.
    std::int64_t next_tick = target;
    for (int level = 0; level < kLevels; ++level) {
      const std::uint64_t bits = occupied_[static_cast<std::size_t>(level)];
      if (bits == 0) continue;
      const int shift = level * kSlotBits;
      const auto hand = static_cast<std::uint32_t>((now_tick_ >> shift) & (kSlots - 1));
      const std::uint64_t ahead = hand == kSlots - 1 ? 0 : bits & (~std::uint64_t{0} << (hand + 1));
      DEFIB_CHECK(ahead == bits);  // Nothing is ever left behind the hand.
      const auto index = static_cast<std::int64_t>(std::countr_zero(ahead));
      const std::int64_t above = (now_tick_ >> (shift + kSlotBits)) << (shift + kSlotBits);
      next_tick = std::min(next_tick, above + (index << shift));
    }
    now_tick_ = std::max(now_tick_ + 1, next_tick);
    for (int level = kLevels - 1; level > 0; --level) {
      const int shift = level * kSlotBits;
      if ((now_tick_ & ((std::int64_t{1} << shift) - 1)) != 0) continue;
      const auto index = static_cast<std::uint32_t>((now_tick_ >> shift) & (kSlots - 1));
      if ((occupied_[static_cast<std::size_t>(level)] >> index & 1U) != 0) cascade(level, index);
    }
    const auto index = static_cast<std::uint32_t>(now_tick_ & (kSlots - 1));
    Key key = slots_[index].first;
    if (key == kNone) continue;
    slots_[index] = List{};
    occupied_[0] &= ~(std::uint64_t{1} << index);
    while (key != kNone) {
      const Key following = nodes_[key].next;
      nodes_[key].slot = kUnarmed;
      nodes_[key].deadline = kNever;
      due.push_back(key);
      key = following;
    }
  }
}

Instant TimerWheel::next() const {
  std::int64_t next_tick = std::numeric_limits<std::int64_t>::max();
  for (int level = 0; level < kLevels; ++level) {
    const std::uint64_t bits = occupied_[static_cast<std::size_t>(level)];
    if (bits == 0) continue;
    const int shift = level * kSlotBits;
    const auto index = static_cast<std::int64_t>(std::countr_zero(bits));
    const std::int64_t above = (now_tick_ >> (shift + kSlotBits)) << (shift + kSlotBits);
    next_tick = std::min(next_tick, above + (index << shift));
  }
  if (next_tick == std::numeric_limits<std::int64_t>::max()) return kNever;
  return Instant(Duration(next_tick << kTickShift));
}

}  // namespace defib::core
