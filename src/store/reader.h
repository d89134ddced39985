// Reads the journal back: everything at the start, history lines later.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/effect.h"
#include "store/codec.h"
#include "store/sqlite.h"

namespace defib::store {

// The one row of `meta`. Times are on the journal's scale.
struct Meta {
  std::string boot_id;         // Empty: nothing was ever written.
  std::int64_t offset_ns = 0;  // JournalScale::offset in that boot.
  std::int64_t alive_ns = 0;
  std::int64_t alive_wall_ms = 0;
  std::int64_t known_until_ns = 0;  // Snapshot::known_until.
  bool is_clean_end = false;
  std::uint64_t last_incident = 0;
  std::uint64_t last_notice = 0;
  std::uint64_t last_event = 0;
};

Result<Meta> read_meta(Database& database);

// The scale of this start (rule of judgement 6): within one boot it goes on, in another one the alive mark is as long
// ago as the wall clock says, and never in the future.
JournalScale choose_scale(const Meta& meta, const std::string& boot_id, Instant now, WallTime wall);

// Errors say which row of which table can't be read.
Result<core::Snapshot> read_snapshot(Database& database, const Meta& meta, JournalScale scale, Instant now,
                                     std::size_t closed_incidents_max);

// Appends at most `limit` lines with ids above `after`, oldest first.
Done read_history(Database& database, core::EventId after, std::size_t limit, std::vector<core::HistoryRecord>& out);

}  // namespace defib::store
