// Records that wait for the disk, oldest first, with a stated bound.
//
// Pure; one owner thread. Of checkpoints only the newest of each chunk is kept: they are many and large
// while the disk is full, and an older one says nothing that the newer does not. At the bound, first
// whatever a later record of the same key replaces goes, then the oldest history lines, which are
// counted; a record with a token never goes. What is left then (the newest record of each agent, incident, notice
// and grant) is bounded by the fleet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <vector>

#include "base/time.h"
#include "core/effect.h"

namespace defib::store {

struct Queued {
  core::Persist persist;
  Instant at{};  // When it was handed to the journal.
};

class Backlog {
 public:
  explicit Backlog(std::size_t records_max) : records_max_(records_max), shrink_at_(records_max) {}

  void push(Queued queued);
  // Takes the oldest records, at most `count` and the checkpoints. Checkpoints come with the last records
  // only, all at once: a checkpoint on disk is never ahead of the record of its agent.
  std::vector<Queued> take(std::size_t count);

  // Calls `see` for each history line that waits, oldest first.
  void each_history(const std::function<void(const core::HistoryRecord&)>& see) const;

  std::size_t size() const { return records_.size() + checkpoints_.size(); }
  bool is_empty() const { return size() == 0; }
  std::uint64_t dropped() const { return dropped_; }  // History lines.

 private:
  void shrink();
  void drop_replaced();
  void drop_oldest_history(std::size_t count);

  const std::size_t records_max_;
  std::size_t shrink_at_;
  std::deque<Queued> records_;
  std::map<std::uint32_t, Queued> checkpoints_;
  std::uint64_t dropped_ = 0;
};

}  // namespace defib::store
