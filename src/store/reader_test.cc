#include "store/reader.h"

#include <gtest/gtest.h>

namespace defib::store {
namespace {

// The scale of instants (rule of judgement 6), with marks that were set an hour of BOOTTIME into the old boot.
Meta marked(const std::string& boot_id) {
  Meta meta;
  meta.boot_id = boot_id;
  meta.offset_ns = Duration(5h).count();
  meta.alive_ns = Duration(6h).count();
  meta.alive_wall_ms = 1'700'000'000'000;
  return meta;
}
const WallTime kMarkWall = wall_from_ms(1'700'000'000'000);
Instant mapped_mark(const std::string& boot_id, Instant now, WallTime wall) {
  return choose_scale(marked("b1"), boot_id, now, wall).from_journal(Duration(6h).count());
}

TEST(JournalScale, GoesOnWithinOneBootWhateverTheWallClockSays) {
  EXPECT_EQ(mapped_mark("b1", Instant(2h), kMarkWall), Instant(1h));
  EXPECT_EQ(mapped_mark("b1", Instant(2h), kMarkWall - 24h), Instant(1h));
}

TEST(JournalScale, InAnotherBootTheMarkIsAsLongAgoAsTheWallClockSays) {
  EXPECT_EQ(mapped_mark("b2", Instant(30s), kMarkWall + 30h), Instant(30s) - 30h);
}

TEST(JournalScale, AWallClockThatSteppedBackMakesNoNegativeDowntime) {
  EXPECT_EQ(mapped_mark("b2", Instant(30s), kMarkWall - 24h), Instant(30s));
}

TEST(JournalScale, AnAbsurdWallClockIsBounded) {
  EXPECT_EQ(mapped_mark("b2", Instant(30s), wall_from_ms(INT64_MAX / 2)), Instant(30s) - 365 * 24h);
}

TEST(JournalScale, AMarkInTheFutureIsOfAnotherScaleThoughTheBootIsTheSame) {
  EXPECT_EQ(mapped_mark("b1", Instant(10min), kMarkWall + 1min), Instant(9min));
}

TEST(JournalScale, ABootThatCanNotBeToldIsAlwaysAnother) {
  EXPECT_EQ(mapped_mark("", Instant(30s), kMarkWall + 1min), Instant(30s) - 1min);
}

}  // namespace
}  // namespace defib::store
