#include "run/process_tree.h"

#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "run/test_process.h"

namespace defib::run {
namespace {

// A child that waits for ever, and a child of its own that does the same.
class Family {
 public:
  Family() {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe(ends.data()), 0);
    child_ = fork();
    if (child_ == 0) {
      const pid_t pid = fork();
      if (pid != 0 && write(ends[1], &pid, sizeof pid) < 0) _exit(1);
      for (;;) pause();
    }
    EXPECT_EQ(read(ends[0], &grandchild_, sizeof grandchild_), static_cast<ssize_t>(sizeof grandchild_));
    close(ends[0]);
    close(ends[1]);
  }
  ~Family() {
    kill(grandchild_, SIGKILL);
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  pid_t child() const { return child_; }
  pid_t grandchild() const { return grandchild_; }

 private:
  pid_t child_ = 0;
  pid_t grandchild_ = 0;
};

bool contains(const std::vector<ProcessFacts>& list, pid_t pid) {
  return std::any_of(list.begin(), list.end(), [&](const ProcessFacts& process) { return process.pid == pid; });
}

TEST(ProcessTree, TheNameOfACommandMayHoldAnything) {
  const auto facts = parse_stat(
      "77 (a) S (b\n) R 5 6 6 0 -1 4194304 1 2 3 4 100 20 30 4 20 0 7 0 999 8192 55 18446744073709551615 1 1");
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->pid, 77);
  EXPECT_EQ(facts->state, 'R');
  EXPECT_EQ(facts->parent, 5);
  EXPECT_EQ(facts->group, 6);
  EXPECT_EQ(facts->own_ticks, 120U);
  EXPECT_EQ(facts->waited_ticks, 34U);
  EXPECT_EQ(facts->threads, 7);
  EXPECT_EQ(facts->resident_pages, 55U);
  EXPECT_FALSE(parse_stat("77 (x) R 5"));
  EXPECT_FALSE(parse_stat(""));
}

TEST(ProcessTree, BothWalksFindChildrenOfChildren) {
  const Family family;
  for (const auto& found : {descendants(getpid()), scan_descendants(getpid())}) {
    EXPECT_TRUE(contains(found, family.child()));
    EXPECT_TRUE(contains(found, family.grandchild()));
    EXPECT_FALSE(contains(found, getpid()));
  }
}

TEST(ProcessTree, ChildrenOfEveryThreadCount) {
  pid_t child = 0;
  std::atomic<bool> is_over = false;
  std::atomic<bool> has_forked = false;
  std::thread other([&] {
    child = fork();
    if (child == 0) {
      for (;;) pause();
    }
    has_forked = true;
    while (!is_over) std::this_thread::yield();
  });
  while (!has_forked) std::this_thread::yield();
  EXPECT_TRUE(contains(descendants(getpid()), child) || contains(descendants(getppid()), child));
  is_over = true;
  other.join();
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

TEST(ProcessTree, ATreeLivesUntilAllOfItIsStoppedOrDead) {
  const Family family;
  TreeMeter meter;
  Instant now = Instant(1h);
  meter.restart(now, family.child());
  EXPECT_TRUE(meter.sample(now += 1s).is_living);
  kill(family.grandchild(), SIGSTOP);
  EXPECT_TRUE(eventually([&] { return !meter.sample(now += 1s).is_living; }));
  kill(family.grandchild(), SIGCONT);
  EXPECT_TRUE(eventually([&] { return meter.sample(now += 1s).is_living; }));
  kill(family.grandchild(), SIGKILL);
  // The parent never waits: a zombie is left, and that is no life.
  EXPECT_TRUE(eventually([&] { return !meter.sample(now += 1s).is_living; }));
  EXPECT_EQ(meter.sample(now += 1s).processes, 1U);
}

TEST(ProcessTree, WhoWaitsForAStoppedChildToExecIsStoppedToo) {
  const pid_t child = fork();
  if (child == 0) {
    if (vfork() == 0) {
      raise(SIGSTOP);
      _exit(0);
    }
    for (;;) pause();
  }
  TreeMeter meter;
  Instant now = Instant(1h);
  meter.restart(now, getpid());
  EXPECT_TRUE(eventually([&] { return !meter.sample(now += 1s).is_living; }));
  EXPECT_EQ(read_process(child)->state, 'D');
  const std::vector<ProcessFacts> found = scan_descendants(child);
  ASSERT_EQ(found.size(), 1U);
  kill(found[0].pid, SIGCONT);
  EXPECT_TRUE(eventually([&] { return meter.sample(now += 1s).is_living; }));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

TEST(ProcessTree, CpuTimeOfTheTreeIsMeasuredFromSampleToSample) {
  const pid_t child = fork();
  if (child == 0) {
    for (;;) {
    }
  }
  TreeMeter meter;
  const Instant start = Instant(1h);
  meter.restart(start, getpid());
  // A clock tick is 10 ms: ten of them are surely used after a while; over a pretended second that is 10 %.
  EXPECT_TRUE(eventually([&] { return read_process(child)->own_ticks >= 10; }));
  const TreeUsage usage = meter.sample(start + 1s);
  EXPECT_GE(usage.cpu_percent, 10);
  EXPECT_GT(usage.memory_mb, 0);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace defib::run
