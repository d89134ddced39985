// The journal under kill -9 and on a disk that is full.
#include <csignal>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <set>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/prng.h"
#include "store/journal.h"
#include "store/test_support.h"

namespace defib::store {
namespace {

// Writes incidents with tokens, a few each turn, and reports each token that is told through the pipe; never returns.
[[noreturn]] void write_until_killed(const std::string& data_dir, int report_fd) {
  net::Loop loop;
  core::PersistToken next = 1;
  JournalCallbacks callbacks{.persisted =
                                 [report_fd](core::PersistToken token) {
                                   if (::write(report_fd, &token, sizeof token) != sizeof token) ::_exit(3);
                                 },
                             .writable = [](bool, const std::string&) { ::_exit(4); }};
  Result<std::unique_ptr<Journal>> opened = Journal::open(loop, {.data_dir = data_dir}, std::move(callbacks));
  if (!opened.ok()) ::_exit(5);
  Journal& journal = *opened.value();
  Result<core::Snapshot> snapshot = journal.restore(net::read_steady(), net::read_wall());
  if (!snapshot.ok()) ::_exit(6);
  next = snapshot.value().last_incident + 1;
  const Instant end = net::read_steady() + 60s;
  loop.run([&] {
    for (int i = 0; i < 3; ++i, ++next) {
      journal.write({next, full_incident(next)});
      journal.write({0, full_agent(static_cast<core::AgentKey>(next % 100), "a")});
      journal.write({0, core::HistoryRecord{.id = next, .text = std::string(300, 'x')}});
    }
    if (net::read_steady() > end) ::_exit(7);
    return net::read_steady() + 1ms;
  });
  ::_exit(8);
}

// All tokens that come within `time` and, once the writer is killed, those that were in the pipe.
std::vector<core::PersistToken> read_tokens(int fd, pid_t child, Duration time) {
  std::vector<core::PersistToken> tokens;
  const Instant end = net::read_steady() + time;
  bool is_killed = false;
  while (true) {
    const std::int64_t left_ms = to_ms(end - net::read_steady());
    if (left_ms <= 0 && !is_killed) {
      ::kill(child, SIGKILL);
      is_killed = true;
    }
    pollfd waiting{fd, POLLIN, 0};
    ::poll(&waiting, 1, is_killed ? -1 : static_cast<int>(left_ms));
    if (waiting.revents == 0) continue;
    core::PersistToken token = 0;
    if (::read(fd, &token, sizeof token) != sizeof token) return tokens;
    tokens.push_back(token);
  }
}

// Whatever was told to be on disk is there after kill -9 at any moment, checkpoints of the WAL included.
TEST(JournalCrash, WhatWasToldIsThereAfterKill) {
  const TempDir dir;
  Prng random(20240517);
  std::set<core::PersistToken> told;
  for (int round = 0; round < 12; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    if (child == 0) write_until_killed(dir.data_dir(), ends[1]);
    ::close(ends[1]);
    const std::vector<core::PersistToken> tokens =
        read_tokens(ends[0], child, std::chrono::milliseconds(random.between(150, 900)));
    ::close(ends[0]);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself, code " << WEXITSTATUS(status);
    EXPECT_TRUE(std::is_sorted(tokens.begin(), tokens.end()));
    told.insert(tokens.begin(), tokens.end());

    const Opened opened(JournalOptions{.data_dir = dir.data_dir(), .closed_incidents_max = 1'000'000});
    ASSERT_EQ(opened.error, "");
    std::set<core::IncidentId> found;
    for (const core::Incident& incident : opened.snapshot.incidents) {
      EXPECT_EQ(incident, full_incident(incident.id));
      found.insert(incident.id);
    }
    for (const core::PersistToken token : told) EXPECT_TRUE(found.contains(token)) << token;
    EXPECT_EQ(opened.snapshot.last_incident, found.empty() ? 0 : *found.rbegin());
  }
  EXPECT_GT(told.size(), 50u);
}

// In a child: a limit on file size stands for the full disk (write fails, with EFBIG in place of ENOSPC).
int fill_the_disk(const std::string& data_dir) {
  ::signal(SIGXFSZ, SIG_IGN);
  Opened opened(data_dir);
  if (!opened.error.empty() || !opened.settle()) return 1;
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  const rlim_t unlimited = limit.rlim_cur;
  limit.rlim_cur = 200 * 1024;
  ::setrlimit(RLIMIT_FSIZE, &limit);
  for (core::IncidentId id = 1; id <= 2000; ++id) opened.write(full_incident(id), id);
  opened.write(full_agent(1, "a-1"));
  if (!turn_until(opened.loop, [&] { return !opened.writable.empty(); })) return 2;
  if (opened.writable[0].first || opened.writable[0].second.find("File too large") == std::string::npos) return 3;
  const std::size_t told_before = opened.persisted.size();
  opened.write(full_line(5'000));
  // Two more tries: it is told once, not each second.
  const Instant later = net::read_steady() + 2500ms;
  if (!turn_until(opened.loop, [&] { return net::read_steady() > later; })) return 4;
  if (opened.writable.size() != 1 || opened.persisted.size() != told_before) return 5;
  limit.rlim_cur = unlimited;
  ::setrlimit(RLIMIT_FSIZE, &limit);
  if (!turn_until(opened.loop, [&] { return opened.persisted.size() >= 2001; })) return 6;
  if (opened.writable.size() != 2 || !opened.writable[1].first) return 7;
  // The first is settle()'s.
  for (std::size_t i = 1; i < opened.persisted.size(); ++i) {
    if (opened.persisted[i] != i) return 8;
  }
  return opened.journal->dropped() == 0 ? 0 : 9;
}

TEST(JournalCrash, AFullDiskIsToldAndNothingIsLostOnceThereIsRoom) {
  const TempDir dir;
  const pid_t child = ::fork();
  if (child == 0) ::_exit(fill_the_disk(dir.data_dir()));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  Opened again(dir.data_dir());
  ASSERT_EQ(again.error, "");
  EXPECT_EQ(again.snapshot.incidents.size(), 2000u);
  EXPECT_EQ(again.snapshot.agents.size(), 1u);
  EXPECT_EQ(again.journal->history(4'999, 1).at(0).id, 5'000u);
}

// The disk is full when a new journal is to be made: an error, no half-made file.
TEST(JournalCrash, NoRoomForANewJournalIsTold) {
  const TempDir dir;
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string error = Opened(dir.data_dir()).error;
    ::_exit(error.find("cannot make " + dir.file()) == 0 && error.find("free some space") != std::string::npos ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_FALSE(std::filesystem::exists(dir.file()));
  EXPECT_EQ(Opened(dir.data_dir()).error, "");
}

}  // namespace
}  // namespace defib::store
