// Writes batches of records, each in one transaction that also sets the alive mark.
//
// One thread at a time. Each batch is all on disk or not there at all.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/policy.h"
#include "store/backlog.h"
#include "store/codec.h"
#include "store/reader.h"
#include "store/sqlite.h"

namespace defib::store {

struct Batch {
  // Shared with the loop thread, which reads it too: never changed.
  std::shared_ptr<const std::vector<Queued>> records;
  // The alive mark: the loop was turning then.
  Instant alive{};
  WallTime wall{};
  bool is_complete = false;  // Nothing that was handed to the journal until `alive` waits behind it.
  bool removes_old = false;
  bool is_clean_end = false;
};

// How often the core hands over what was heard: Checkpoint chunks of all agents heard of since, in one step. A second
// more, so that a late step does not count as a lost one.
inline constexpr Duration kCheckpointPeriod = 10s + 1s;

class Writer {
 public:
  // Rows that one batch removes at most from each table, so that no batch waits long behind old history.
  static constexpr std::int64_t kRemovedRowsMax = 1'000;

  // Borrows the database. `meta` is what stands there now; boot and scale hold from the first batch on.
  // `history_max`: lines kept, 0 for no bound but keep.events.
  static Result<std::unique_ptr<Writer>> make(Database& database, Meta meta, std::string boot_id, JournalScale scale,
                                              core::Keep keep, std::uint64_t history_max);

  // Commits with synchronous=FULL where a record has a token or the end is clean, else with NORMAL.
  Done write(const Batch& batch);

  // The last batch was to remove old rows, and left some.
  bool has_more_old() const { return has_more_old_; }

 private:
  Writer(Database& database, Meta meta, JournalScale scale, core::Keep keep, std::uint64_t history_max);
  Done prepare();
  Done set_synchronous(bool is_full);
  Meta next_meta(const Batch& batch) const;
  Done write_records(const Batch& batch);
  Done write_meta(const Meta& meta);
  Done remove_old(WallTime wall, const Meta& meta);
  Done remove(Statement& statement);

  Done put(const core::AgentRecord& record);
  Done put(const core::AgentForgotten& record);
  Done put(const core::Incident& incident);
  Done put(const core::NoticeRecord& notice);
  Done put(const core::GrantRecord& grant);
  Done put(const core::HistoryRecord& line);
  Done put(const core::CheckpointChunk& chunk);

  Database& database_;
  Meta meta_;
  const JournalScale scale_;
  const core::Keep keep_;
  const std::uint64_t history_max_;
  Instant first_alive_{};  // Of this start.
  bool is_full_ = true;    // SQLite's own default.
  bool has_more_old_ = false;

  Statement put_agent_, forget_agent_, forget_grant_, put_incident_, put_notice_, remove_notice_, put_grant_, put_line_,
      put_checkpoint_, put_meta_, remove_lines_, remove_incidents_;
};

}  // namespace defib::store
