// Records to and from what stands in the journal's columns.
//
// A body is a JSON object: a field that is missing has its default and an unknown one is passed over, so fields can be
// added without a migration. Text is kept byte for byte, UTF-8 or not. Checkpoints are packed: 32 bytes an
// entry, little endian.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/time.h"
#include "core/effect.h"
#include "core/types.h"

namespace defib::store {

// The journal counts instants on a scale of its own that goes on across boots, so that nothing in the
// file has to be rewritten when a new boot starts CLOCK_BOOTTIME over. An instant of zero means "none" and stays zero.
struct JournalScale {
  Duration offset{0};  // Added to an instant of this boot.

  std::int64_t to_journal(Instant t) const {
    return t == Instant{} ? 0 : sum(t.time_since_epoch().count(), offset.count());
  }
  Instant from_journal(std::int64_t t) const { return t == 0 ? Instant{} : Instant(Duration(sum(t, -offset.count()))); }

 private:
  // Wraps: a number from a damaged file must not be undefined behaviour.
  static std::int64_t sum(std::int64_t a, std::int64_t b) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  }
};

// Everything but key and id, and but task_progress and capsule: JSON carries neither exact floating point nor plain
// bytes.
std::string encode(const core::AgentRecord& record, JournalScale scale);
std::string encode(const core::Incident& incident);
std::string encode(const core::NoticeRecord& notice);
std::string encode(const core::CheckpointChunk& chunk, JournalScale scale);

// False where the body can't be such a record; `out` is then of no use.
bool decode(std::string_view body, JournalScale scale, core::AgentRecord& out);
bool decode(std::string_view body, core::Incident& out);
bool decode(std::string_view body, core::NoticeRecord& out);
// Fills the entries only.
bool decode(std::string_view blob, JournalScale scale, core::CheckpointChunk& out);

// The enumerator of that name; false where there is none.
bool parse_name(std::string_view text, core::EventKind& out);

}  // namespace defib::store
