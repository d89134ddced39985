#include "store/journal.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/sqlite.h"
#include "store/test_support.h"

namespace defib::store {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

void run_sql(const TempDir& dir, const std::string& sql) {
  Result<Database> database = Database::open(dir.file(), SQLITE_OPEN_READWRITE);
  ASSERT_TRUE(database.ok());
  const Done done = database.value().run(sql.c_str());
  ASSERT_TRUE(done.ok()) << done.error();
}

std::vector<core::EventId> ids(const std::vector<core::HistoryRecord>& lines) {
  std::vector<core::EventId> out;
  for (const core::HistoryRecord& line : lines) out.push_back(line.id);
  return out;
}

TEST(Journal, IsEmptyAtTheFirstStartOnly) {
  const TempDir dir;
  {
    const Opened first(dir.data_dir());
    ASSERT_EQ(first.error, "");
    EXPECT_TRUE(first.snapshot.is_first_start);
    EXPECT_TRUE(first.snapshot.agents.empty());
    EXPECT_EQ(first.snapshot.last_event, 0u);
  }
  EXPECT_FALSE(Opened(dir.data_dir()).snapshot.is_first_start);
}

TEST(Journal, EveryKindOfRecordComesBack) {
  const TempDir dir;
  core::Incident open = full_incident(6);
  open.closed_at.reset();
  const core::GrantRecord grant{"a-1", "i-9", 5, 2};
  std::vector<core::HistoryRecord> lines;
  for (core::EventId id = 1; id <= 3; ++id) lines.push_back(full_line(id));
  {
    Opened opened(dir.data_dir());
    ASSERT_EQ(opened.error, "");
    opened.write(full_agent(1, "a-1"));
    opened.write(full_agent(core::kCheckpointChunk * 3, "a-2"));
    opened.write(full_incident(7));
    opened.write(open);
    opened.write(full_notice(5));
    opened.write(grant);
    for (const core::HistoryRecord& line : lines) opened.write(line);
    ASSERT_TRUE(opened.settle());
  }
  Opened again(dir.data_dir());
  ASSERT_EQ(again.error, "");
  EXPECT_THAT(again.snapshot.agents, ElementsAre(full_agent(1, "a-1"), full_agent(core::kCheckpointChunk * 3, "a-2")));
  EXPECT_THAT(again.snapshot.incidents, ElementsAre(open, full_incident(7)));
  EXPECT_THAT(again.snapshot.notices, ElementsAre(full_notice(5)));
  EXPECT_THAT(again.snapshot.grants, ElementsAre(grant));
  EXPECT_EQ(again.snapshot.last_incident, 7u);
  EXPECT_EQ(again.snapshot.last_notice, 5u);
  EXPECT_EQ(again.snapshot.last_event, 3u);
  EXPECT_EQ(again.journal->history(0, 3), lines);
}

TEST(Journal, ALaterRecordReplacesTheEarlier) {
  const TempDir dir;
  core::AgentRecord agent = full_agent(1, "a-1");
  core::Incident incident = full_incident(1);
  core::NoticeRecord notice = full_notice(1);
  core::GrantRecord grant{"a-1", "i-1", 5, 0};
  {
    Opened opened(dir.data_dir());
    opened.write(agent);
    opened.write(incident);
    opened.write(notice);
    opened.write(grant);
    agent.state = core::State::healthy;
    agent.task_progress.reset();
    incident.attempts.pop_back();
    notice.message = "again";
    grant.spent = 3;
    grant.instance_id = "i-2";
    opened.write(agent);
    opened.write(incident);
    opened.write(notice);
    opened.write(grant);
    ASSERT_TRUE(opened.settle());
  }
  const Opened again(dir.data_dir());
  EXPECT_THAT(again.snapshot.agents, ElementsAre(agent));
  EXPECT_THAT(again.snapshot.incidents, ElementsAre(incident));
  EXPECT_THAT(again.snapshot.notices, ElementsAre(notice));
  EXPECT_THAT(again.snapshot.grants, ElementsAre(grant));
}

TEST(Journal, AForgottenAgentAndItsGrantAreGoneAndItsKeyIsFree) {
  const TempDir dir;
  {
    Opened opened(dir.data_dir());
    opened.write(full_agent(1, "a-1"));
    opened.write(core::GrantRecord{"a-1", "i-1", 5, 0});
    opened.write(full_agent(2, "a-2"));
    opened.write(core::AgentForgotten{1, "a-1"});
    opened.write(full_agent(3, "a-3"));
    opened.write(core::AgentForgotten{3, "a-3"});
    opened.write(full_agent(3, "a-4"));
    ASSERT_TRUE(opened.settle());
  }
  const Opened again(dir.data_dir());
  EXPECT_THAT(again.snapshot.agents, ElementsAre(full_agent(2, "a-2"), full_agent(3, "a-4")));
  EXPECT_TRUE(again.snapshot.grants.empty());
}

TEST(Journal, ADeliveredNoticeLeavesTheOutboxAndItsIdIsNotUsedAgain) {
  const TempDir dir;
  {
    Opened opened(dir.data_dir());
    opened.write(full_notice(41));
    core::NoticeRecord done = full_notice(41);
    done.is_done = true;
    opened.write(done);
    ASSERT_TRUE(opened.settle());
  }
  const Opened again(dir.data_dir());
  EXPECT_TRUE(again.snapshot.notices.empty());
  EXPECT_EQ(again.snapshot.last_notice, 41u);
}

TEST(Journal, OfClosedIncidentsTheNewestComeBackAndOfOpenOnesAll) {
  const TempDir dir;
  {
    Opened opened(dir.data_dir());
    for (core::IncidentId id = 1; id <= 20; ++id) {
      core::Incident incident = full_incident(id);
      if (id <= 5) incident.closed_at.reset();
      opened.write(incident);
    }
    ASSERT_TRUE(opened.settle());
  }
  const Opened again(JournalOptions{.data_dir = dir.data_dir(), .closed_incidents_max = 2});
  std::vector<core::IncidentId> found;
  for (const core::Incident& incident : again.snapshot.incidents) found.push_back(incident.id);
  EXPECT_THAT(found, ElementsAre(1, 2, 3, 4, 5, 19, 20));
}

// When a token is told, another reader of the file finds its record: nothing is told early, nothing out of order.
TEST(Journal, TokensAreToldInOrderAndOnlyOnceTheirRecordIsInTheFile) {
  const TempDir dir;
  net::Loop loop;
  std::vector<core::PersistToken> told;
  std::unique_ptr<Journal> journal;
  JournalCallbacks callbacks{.persisted = [&](core::PersistToken token) {
    Result<Database> reader = Database::open(dir.file(), SQLITE_OPEN_READONLY);
    ASSERT_TRUE(reader.ok());
    EXPECT_TRUE(reader.value().ask(fmt::format("SELECT 1 FROM incidents WHERE id = {}", token)).ok()) << token;
    told.push_back(token);
    // What a callback writes is written too.
    if (token == 1) journal->write({1000, full_incident(1000)});
  }};
  Result<std::unique_ptr<Journal>> opened = Journal::open(loop, {.data_dir = dir.data_dir()}, callbacks);
  ASSERT_TRUE(opened.ok());
  journal = std::move(opened).value();
  ASSERT_TRUE(journal->restore(net::read_steady(), net::read_wall()).ok());
  std::vector<core::PersistToken> expected;
  for (core::PersistToken token = 1; token <= 300; ++token) {
    journal->write({token, full_incident(token)});
    journal->write({0, full_line(token)});
    expected.push_back(token);
  }
  expected.push_back(1000);
  EXPECT_TRUE(told.empty());
  ASSERT_TRUE(turn_until(loop, [&] { return told.size() == expected.size(); }));
  EXPECT_EQ(told, expected);
}

TEST(Journal, WhatIsQueuedAtTheEndIsWrittenAndTheEndIsMarkedClean) {
  const TempDir dir;
  {
    Opened opened(dir.data_dir());
    for (core::AgentKey key = 0; key < 10'000; ++key) opened.write(full_agent(key, "a" + std::to_string(key)));
    // Destroyed before the loop has turned once.
  }
  EXPECT_FALSE(std::filesystem::exists(dir.file() + "-wal"));
  {
    Result<Database> database = Database::open(dir.file(), SQLITE_OPEN_READONLY);
    ASSERT_TRUE(database.ok());
    EXPECT_EQ(database.value().ask("SELECT is_clean_end FROM meta").value(), "1");
  }
  EXPECT_EQ(Opened(dir.data_dir()).snapshot.agents.size(), 10'000u);
}

TEST(Journal, CheckpointsAreMergedUnlessTheirKeyHasPassedOn) {
  const TempDir dir;
  core::AgentRecord refreshed = full_agent(1024, "refreshed");
  core::AgentRecord reused = full_agent(1025, "reused");  // Its entry is of whoever had the key before.
  core::AgentRecord silent = full_agent(1026, "silent");  // It has never beaten.
  silent.has_beaten = false;
  silent.last_heard = {};
  core::AgentRecord plain = full_agent(1027, "plain");  // A ping: no sequence.
  plain.sequence.reset();
  core::AgentRecord beyond = full_agent(1030, "beyond");  // Its entry is cut off.
  core::AgentRecord elsewhere = full_agent(0, "elsewhere");
  {
    Opened opened(dir.data_dir());
    core::CheckpointChunk chunk{.chunk = 1, .entries = {}};
    chunk.entries = {
        {Instant(20s), 2'000, 88}, {Instant(12s), 1'000, 99}, {Instant(20s), 2'000, 77}, {Instant(20s), 2'000, 0}, {}};
    for (const core::AgentRecord& agent : {refreshed, reused, silent, plain, beyond, elsewhere}) opened.write(agent);
    opened.write(core::CheckpointChunk{.chunk = 1, .entries = {{Instant(19s), 1'900, 87}}});
    opened.write(chunk);
    ASSERT_TRUE(opened.settle());
  }
  for (core::AgentRecord* agent : {&refreshed, &plain}) {
    agent->last_heard = Instant(20s);
    agent->last_heard_wall = wall_from_ms(2'000);
  }
  refreshed.sequence = 88;
  // Where a life has not beaten, its registration is what silence counts from.
  silent.registered = std::max(silent.registered, Instant(20s));
  EXPECT_THAT(Opened(dir.data_dir()).snapshot.agents, ElementsAre(elsewhere, refreshed, reused, silent, plain, beyond));
}

TEST(Journal, WithinOneBootInstantsStayAndBlindnessBeginsAtTheLastCheckpoint) {
  const TempDir dir;
  const Instant before = net::read_steady();
  Instant checkpoint_at{};
  {
    Opened opened(dir.data_dir());
    opened.write(full_agent(0, "a"));
    ASSERT_TRUE(opened.settle());
    opened.write(core::CheckpointChunk{.chunk = 0, .entries = {{Instant(20s), 2'000, 5}}});
    checkpoint_at = net::read_steady();
    ASSERT_TRUE(opened.settle());
    ASSERT_TRUE(turn_until(opened.loop, [&] { return net::read_steady() > checkpoint_at + 300ms; }));
  }
  const Instant now = net::read_steady();
  const Opened again({.data_dir = dir.data_dir()}, {now, net::read_wall() + 1h});
  EXPECT_EQ(again.snapshot.agents.at(0).last_heard, Instant(20s));
  EXPECT_EQ(again.snapshot.agents.at(0).state_since, Instant(11s));
  EXPECT_GT(again.snapshot.known_until, before);
  EXPECT_LE(again.snapshot.known_until, checkpoint_at);
  EXPECT_GT(again.snapshot.known_until, checkpoint_at - 200ms);
}

TEST(Journal, WithoutAnyCheckpointNothingIsKnownAfterTheFirstMark) {
  const TempDir dir;
  const Instant before = net::read_steady();
  {
    Opened opened(dir.data_dir());
    ASSERT_TRUE(turn_until(opened.loop, [&] { return net::read_steady() > before + 1500ms; }));
  }
  const Instant known = Opened(dir.data_dir()).snapshot.known_until;
  EXPECT_GE(known, before);
  EXPECT_LT(known, before + 1s);
}

// Two boots later the records are still those of the first: nothing in the file was rewritten meanwhile.
TEST(Journal, InstantsAreMappedAcrossBootsAlsoWhenTheirRecordsAreOld) {
  const TempDir dir;
  const Instant now = net::read_steady();
  core::AgentRecord agent = full_agent(0, "a");
  agent.last_heard = now - 10min;
  {
    Opened opened(dir.data_dir());
    opened.write(agent);
    opened.write(core::CheckpointChunk{.chunk = 0, .entries = {{now - 5min, 1, 9}}});
    ASSERT_TRUE(opened.settle());
  }
  for (int boot = 1; boot <= 2; ++boot) {
    // The host was down for an hour before it booted again.
    run_sql(dir, fmt::format("UPDATE meta SET boot_id = 'boot-{}', alive_wall_ms = alive_wall_ms - 3600000", boot));
    const Instant start = net::read_steady();
    const Opened opened({.data_dir = dir.data_dir()}, {start, net::read_wall()});
    ASSERT_EQ(opened.error, "");
    const Duration age = start - opened.snapshot.agents.at(0).last_heard;
    EXPECT_GE(age, 5min + boot * 1h);
    EXPECT_LT(age, 5min + boot * 1h + 30s);
    EXPECT_GE(start - opened.snapshot.known_until, boot * 1h);
    EXPECT_LT(start - opened.snapshot.known_until, boot * 1h + 30s);
  }
}

TEST(Journal, HistoryIsReadFromWhereTheReaderLeftOff) {
  const TempDir dir;
  Opened opened(dir.data_dir());
  for (core::EventId id = 1; id <= 2000; ++id) opened.write(full_line(id));
  // Not yet in the file: a reader that resumes now must not miss it.
  EXPECT_EQ(ids(opened.journal->history(1998, 10)), (std::vector<core::EventId>{1999, 2000}));
  EXPECT_EQ(opened.journal->history(0, 5000).size(), 1000u);
  ASSERT_TRUE(opened.settle());
  opened.write(full_line(2001));
  EXPECT_EQ(ids(opened.journal->history(1998, 10)), (std::vector<core::EventId>{1999, 2000, 2001}));
  EXPECT_EQ(ids(opened.journal->history(0, 2)), (std::vector<core::EventId>{1, 2}));
  EXPECT_EQ(opened.journal->history(7, 1).at(0).text, "a beat \xff");
  EXPECT_TRUE(opened.journal->history(UINT64_MAX, 10).empty());
  EXPECT_TRUE(opened.journal->history(0, 0).empty());
}

TEST(Journal, InMemoryWorksTheSameAndLeavesNothing) {
  const auto before = std::filesystem::exists("memory");
  {
    Opened opened("memory");
    ASSERT_EQ(opened.error, "");
    EXPECT_TRUE(opened.snapshot.is_first_start);
    for (core::EventId id = 1; id <= 500; ++id) {
      opened.write(full_line(id), id);
      // The same connection as the store thread's, while it writes.
      EXPECT_EQ(opened.journal->history(0, 1000).size(), id);
      if (id % 50 == 0) {
        ASSERT_TRUE(turn_until(opened.loop, [&] { return opened.persisted.size() == id; }));
      }
    }
    EXPECT_EQ(ids(opened.journal->history(498, 10)), (std::vector<core::EventId>{499, 500}));
    EXPECT_TRUE(opened.writable.empty());
  }
  EXPECT_TRUE(Opened("memory").snapshot.is_first_start);
  EXPECT_EQ(std::filesystem::exists("memory"), before);
}

TEST(Journal, AFileThatWasDeletedUnderUsIsToldNotWrittenInto) {
  const TempDir dir;
  Opened opened(dir.data_dir());
  ASSERT_TRUE(opened.settle());
  std::filesystem::remove(dir.file());
  opened.write(full_incident(1), 5);
  ASSERT_TRUE(turn_until(opened.loop, [&] { return !opened.writable.empty(); }));
  EXPECT_FALSE(opened.writable[0].first);
  EXPECT_THAT(opened.writable[0].second, HasSubstr(dir.file()));
  EXPECT_THAT(opened.writable[0].second, HasSubstr("moved or deleted"));
  EXPECT_NE(opened.persisted.back(), 5u);
}

// Somebody looks into the file with a tool and holds it: told, kept, and written as soon as he lets go.
TEST(Journal, AFileHeldByAnotherProgramIsToldAndTriedAgain) {
  const TempDir dir;
  Opened opened(dir.data_dir());
  ASSERT_TRUE(opened.settle());
  {
    Result<Database> other = Database::open(dir.file(), SQLITE_OPEN_READWRITE);
    ASSERT_TRUE(other.ok());
    ASSERT_TRUE(other.value().run("BEGIN IMMEDIATE").ok());
    opened.write(full_incident(1), 5);
    opened.write(full_line(1));
    ASSERT_TRUE(turn_until(opened.loop, [&] { return !opened.writable.empty(); }));
    EXPECT_THAT(opened.writable[0].second, HasSubstr("locked"));
    EXPECT_NE(opened.persisted.back(), 5u);
    EXPECT_EQ(ids(opened.journal->history(0, 1)), (std::vector<core::EventId>{1}));
  }
  ASSERT_TRUE(turn_until(opened.loop, [&] { return opened.persisted.back() == 5; }));
  ASSERT_EQ(opened.writable.size(), 2u);
  EXPECT_TRUE(opened.writable[1].first);
}

// In the running journal: the first batch removes, then a slice a second while there is more.
TEST(Journal, RemovesOldHistoryByItself) {
  const TempDir dir;
  {
    Opened opened(dir.data_dir());
    for (core::EventId id = 1; id <= 1500; ++id) {
      core::HistoryRecord line = full_line(id);
      line.at -= 31 * 24h;
      opened.write(line);
    }
    opened.write(full_line(1501));
  }
  Opened again(dir.data_dir());
  EXPECT_TRUE(turn_until(again.loop, [&] { return ids(again.journal->history(0, 1)).front() == 1501; }));
}

}  // namespace
}  // namespace defib::store
