#include "store/backlog.h"

#include <gtest/gtest.h>

namespace defib::store {
namespace {

Queued line(core::EventId id) { return {{0, core::HistoryRecord{.id = id}}}; }
Queued agent(core::AgentKey key, std::int64_t pid, core::PersistToken token = 0) {
  core::AgentRecord record;
  record.key = key;
  record.pid = pid;
  return {{token, std::move(record)}};
}
Queued checkpoint(std::uint32_t chunk, std::uint64_t sequence) {
  return {{0, core::CheckpointChunk{.chunk = chunk, .entries = {{.sequence = sequence}}}}};
}

std::vector<core::EventId> line_ids(const std::vector<Queued>& records) {
  std::vector<core::EventId> ids;
  for (const Queued& queued : records) {
    if (const auto* l = std::get_if<core::HistoryRecord>(&queued.persist.record)) ids.push_back(l->id);
  }
  return ids;
}

TEST(Backlog, GivesTheOldestFirstAndNoMoreThanAskedFor) {
  Backlog backlog(100);
  for (core::EventId id = 1; id <= 5; ++id) backlog.push(line(id));
  EXPECT_EQ(line_ids(backlog.take(3)), (std::vector<core::EventId>{1, 2, 3}));
  EXPECT_EQ(line_ids(backlog.take(3)), (std::vector<core::EventId>{4, 5}));
  EXPECT_TRUE(backlog.is_empty());
  EXPECT_TRUE(backlog.take(3).empty());
}

// While the disk is full a round comes every ten seconds, 24 KiB a chunk: only the last of each may wait.
TEST(Backlog, KeepsTheNewestCheckpointOfEachChunkAndGivesThemLast) {
  Backlog backlog(100);
  for (std::uint64_t round = 1; round <= 1000; ++round) {
    backlog.push(checkpoint(0, round));
    backlog.push(checkpoint(1, round));
  }
  backlog.push(line(1));
  backlog.push(line(2));
  EXPECT_EQ(backlog.size(), 4u);
  EXPECT_EQ(line_ids(backlog.take(1)), (std::vector<core::EventId>{1}));
  const std::vector<Queued> rest = backlog.take(1);
  ASSERT_EQ(rest.size(), 3u);
  EXPECT_EQ(std::get<core::CheckpointChunk>(rest[1].persist.record).entries[0].sequence, 1000u);
  EXPECT_EQ(std::get<core::CheckpointChunk>(rest[2].persist.record).chunk, 1u);
  EXPECT_TRUE(backlog.is_empty());
}

TEST(Backlog, AtItsBoundTheOldestHistoryGoesAndIsCounted) {
  Backlog backlog(80);
  for (core::EventId id = 1; id <= 1000; ++id) backlog.push(line(id));
  EXPECT_LE(backlog.size(), 80u);
  EXPECT_EQ(backlog.size() + backlog.dropped(), 1000u);
  const std::vector<core::EventId> left = line_ids(backlog.take(1000));
  EXPECT_EQ(left.back(), 1000u);
  EXPECT_EQ(left.front(), 1001 - left.size());
}

TEST(Backlog, NothingButHistoryIsEverLost) {
  Backlog backlog(80);
  for (core::AgentKey key = 0; key < 500; ++key) backlog.push(agent(key, 1));
  EXPECT_EQ(backlog.size(), 500u);
  EXPECT_EQ(backlog.dropped(), 0u);
  for (core::EventId id = 1; id <= 500; ++id) backlog.push(line(id));
  EXPECT_GT(backlog.dropped(), 0u);
  std::size_t agents = 0;
  for (const Queued& queued : backlog.take(10'000)) {
    agents += std::holds_alternative<core::AgentRecord>(queued.persist.record) ? 1u : 0u;
  }
  EXPECT_EQ(agents, 500u);
}

TEST(Backlog, AtItsBoundReplacedRecordsGoBeforeHistory) {
  Backlog backlog(80);
  for (core::EventId id = 1; id <= 20; ++id) backlog.push(line(id));
  for (std::int64_t pid = 1; pid <= 10'000; ++pid) backlog.push(agent(static_cast<core::AgentKey>(pid % 2), pid));
  EXPECT_LE(backlog.size(), 80u);
  EXPECT_EQ(backlog.dropped(), 0u);
  const std::vector<Queued> left = backlog.take(1000);
  EXPECT_EQ(line_ids(left).size(), 20u);
  EXPECT_EQ(std::get<core::AgentRecord>(left.back().persist.record).pid, 10'000);
}

// A forgotten agent's key may be another's by now: what is left must come to the same on disk.
TEST(Backlog, ForgettingIsReplacedByAndReplacesTheRecordOfItsKey) {
  Backlog backlog(8);
  for (int i = 0; i < 100; ++i) {
    backlog.push(agent(5, i));
    backlog.push({{0, core::AgentForgotten{.key = 5, .id = "a"}}});
  }
  std::vector<Queued> left = backlog.take(1000);
  EXPECT_LE(left.size(), 8u);
  EXPECT_TRUE(std::holds_alternative<core::AgentForgotten>(left.back().persist.record));
}

TEST(Backlog, ATokenIsNeverDroppedNorReplaced) {
  Backlog backlog(16);
  for (core::PersistToken token = 1; token <= 10; ++token) backlog.push(agent(1, 0, token));
  backlog.push({{11, core::HistoryRecord{.id = 1}}});
  for (core::EventId id = 2; id <= 100; ++id) backlog.push(line(id));
  core::PersistToken expected = 0;
  for (const Queued& queued : backlog.take(1000)) {
    if (queued.persist.token == 0) continue;
    EXPECT_EQ(queued.persist.token, ++expected);
  }
  EXPECT_EQ(expected, 11u);
}

TEST(Backlog, ShowsTheHistoryThatWaits) {
  Backlog backlog(100);
  backlog.push(line(1));
  backlog.push(agent(1, 1));
  backlog.push(line(2));
  std::vector<core::EventId> seen;
  backlog.each_history([&](const core::HistoryRecord& l) { seen.push_back(l.id); });
  EXPECT_EQ(seen, (std::vector<core::EventId>{1, 2}));
}

}  // namespace
}  // namespace defib::store
