// The journal and history in SQLite (WAL), on a thread of its own. See docs/decisions.md for the file.
//
// Writes are batched into one transaction a wake-up; a batch that holds a record with a token commits
// with synchronous=FULL and then tells Persisted on the loop thread. An alive mark (boot id, boottime,
// wall time) is written every second. "memory" as the directory keeps nothing on disk.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "core/effect.h"
#include "net/loop.h"

namespace defib::store {

struct JournalOptions {
  std::string data_dir;  // Created where it does not exist (mode 0700); "memory".
  core::Keep keep;
  std::size_t closed_incidents_max = 10'000;
};

struct JournalCallbacks {
  // All on the loop thread.
  std::function<void(core::PersistToken)> persisted;
  // The journal can't be written (false, with the reason), or can be again (true).
  std::function<void(bool, std::string)> writable;
};

class Journal {
 public:
  // Records waiting for the disk; past it the oldest history lines are dropped and counted, nothing else.
  static constexpr std::size_t kQueueMax = 1'000'000;

  // Opens or makes the file and locks it against a second monitor. An error says what is wrong with
  // which file and what to do; a file of a newer version or of another program is never touched.
  static Result<std::unique_ptr<Journal>> open(net::Loop& loop, JournalOptions options, JournalCallbacks callbacks);
  ~Journal();  // Writes what is queued, marks a clean end, closes.

  // Everything there is, instants already mapped into this boot's scale (rule of judgement 6): within
  // one boot as they are, else by wall time and never negative.
  // Once, before anything is written: it may take its time, nothing else here does. After an error the file
  // can't be trusted: nothing may be written, and it is left as it is.
  Result<core::Snapshot> restore(Instant now, WallTime wall);

  // Queues a record. Never blocks. What one turn writes shares a transaction.
  void write(core::Persist persist);

  // History lines with ids above `after`, oldest first, at most `limit`; for SSE resume and `defib events`.
  // Reads on a connection of its own; at most 1,000 lines a call.
  std::vector<core::HistoryRecord> history(core::EventId after, std::size_t limit);

  std::uint64_t dropped() const;  // History lines lost to a full queue.

 private:
  class Impl;
  explicit Journal(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace defib::store
