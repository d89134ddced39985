// Where a turn's events gather until the core steps, with the way back for each one's answer.
//
// Text in an event must live until the step is over: put it into `arena()`, which is emptied by
// deliver(). Bounded: where is_full(), readers must stop reading until the next turn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <span>
#include <string_view>
#include <vector>

#include "core/effect.h"
#include "core/event.h"

namespace defib::ingest {

// Hears what became of an event that it pushed. `ticket` is the sink's own; it must bear that the
// connection behind a ticket is gone by now.
class AnswerSink {
 public:
  virtual void on_answer(std::uint64_t ticket, core::Answer answer) = 0;

 protected:
  ~AnswerSink() = default;
};

class Inbox {
 public:
  static constexpr std::size_t kEventsMax = 4096;

  // `sink` may be null; else it must outlive the turn.
  void push(core::Event event, AnswerSink* sink = nullptr, std::uint64_t ticket = 0);
  bool is_full() const { return events_.size() >= kEventsMax; }
  bool is_empty() const { return events_.empty(); }
  std::span<const core::Event> events() const { return events_; }

  std::pmr::memory_resource& arena() { return arena_; }
  // A copy of `text` that lives until deliver().
  std::string_view keep(std::string_view text);

  // Tells each sink its answer (one answer an event, in order), then empties inbox and arena.
  void deliver(std::span<const core::Answer> answers);

 private:
  struct Origin {
    AnswerSink* sink;
    std::uint64_t ticket;
  };
  std::vector<core::Event> events_;
  std::vector<Origin> origins_;
  // Enough for an ordinary turn, and kept: what the arena takes beyond it is given back each turn.
  std::vector<std::byte> first_block_ = std::vector<std::byte>(256 * 1024);
  std::pmr::monotonic_buffer_resource arena_{first_block_.data(), first_block_.size()};
};

}  // namespace defib::ingest
