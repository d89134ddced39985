#include "store/writer.h"

#include <gtest/gtest.h>

#include "store/schema.h"
#include "store/test_support.h"

namespace defib::store {
namespace {

class WriterTest : public testing::Test {
 protected:
  void make(std::uint64_t history_max) {
    Result<std::unique_ptr<Writer>> made =
        Writer::make(database_, {}, "b1", {}, {.events = 24h, .incidents = 48h}, history_max);
    ASSERT_TRUE(made.ok());
    writer_ = std::move(made).value();
  }
  void write(std::vector<Queued> records, bool removes_old) {
    Batch batch{.records = std::make_shared<const std::vector<Queued>>(std::move(records)),
                .alive = Instant(1h),
                .wall = kWall,
                .removes_old = removes_old};
    const Done done = writer_->write(batch);
    ASSERT_TRUE(done.ok()) << done.error();
  }
  std::string ask(const std::string& sql) { return database_.ask(sql).value(); }

  static constexpr WallTime kWall = wall_from_ms(1'700'000'000'000);
  Database database_ = std::move(open_journal_in_memory()).value();
  std::unique_ptr<Writer> writer_;
};

TEST_F(WriterTest, OldHistoryGoesInSlices) {
  make(0);
  std::vector<Queued> lines;
  for (core::EventId id = 1; id <= 2510; ++id) {
    lines.push_back({{0, core::HistoryRecord{.id = id, .at = kWall - (id <= 2500 ? 25h : 23h)}}});
  }
  write(std::move(lines), false);
  EXPECT_EQ(ask("SELECT count(*) FROM history"), "2510");
  write({}, true);
  EXPECT_TRUE(writer_->has_more_old());
  EXPECT_EQ(ask("SELECT count(*) FROM history"), "1510");
  write({}, true);
  write({}, true);
  EXPECT_FALSE(writer_->has_more_old());
  EXPECT_EQ(ask("SELECT count(*) FROM history"), "10");
  EXPECT_EQ(ask("SELECT min(id) FROM history"), "2501");
}

TEST_F(WriterTest, IncidentsClosedLongAgoGoAndOpenOnesStayHoweverOld) {
  make(0);
  std::vector<Queued> incidents;
  for (core::IncidentId id = 1; id <= 3; ++id) {
    core::Incident incident = full_incident(id);
    incident.opened_at = kWall - 1000h;
    if (id == 1) incident.closed_at.reset();
    if (id == 2) incident.closed_at = kWall - 49h;
    if (id == 3) incident.closed_at = kWall - 47h;
    incidents.push_back({{0, incident}});
  }
  write(std::move(incidents), true);
  EXPECT_EQ(ask("SELECT group_concat(id) FROM incidents"), "1,3");
}

TEST_F(WriterTest, ABoundOfLinesHoldsToo) {
  make(100);
  std::vector<Queued> lines;
  for (core::EventId id = 1; id <= 350; ++id) lines.push_back({{0, core::HistoryRecord{.id = id, .at = kWall}}});
  write(std::move(lines), true);
  EXPECT_EQ(ask("SELECT min(id) FROM history"), "251");
}

// What known_until says (a period without a checkpoint is one in which nobody was heard).
TEST_F(WriterTest, KnownUntilAdvancesOnlyByWholePeriodsOfThisStart) {
  make(0);
  const auto at = [&](Duration since, bool is_complete, std::vector<Queued> records = {}) {
    Batch batch{.records = std::make_shared<const std::vector<Queued>>(std::move(records)),
                .alive = Instant(1h) + since,
                .wall = kWall,
                .is_complete = is_complete};
    EXPECT_TRUE(writer_->write(batch).ok());
    return Instant(Duration(read_meta(database_).value().known_until_ns)) - Instant(1h);
  };
  EXPECT_EQ(at(0s, true), 0s);
  EXPECT_EQ(at(10s, true), 0s);
  EXPECT_EQ(at(15s, false), 0s);
  EXPECT_EQ(at(15s, true), 4s);
  EXPECT_EQ(at(20s, false, {{{0, core::CheckpointChunk{}}, Instant(1h) + 19s}}), 19s - 100ms);
  EXPECT_EQ(at(21s, true), 19s - 100ms);
  EXPECT_EQ(at(40s, true), 29s);
  make(0);
  write({}, false);
  EXPECT_EQ(at(1s, true), 0s);
}

}  // namespace
}  // namespace defib::store
