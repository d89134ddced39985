#include "net/loop.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

#include <boost/asio/post.hpp>

namespace defib::net {
namespace {

TEST(Loop, FirstTurnComesAtOnceAndStopFromOnTurnEndsIt) {
  Loop loop;
  int turns = 0;
  loop.run([&] {
    ++turns;
    loop.stop();
    return kNever;
  });
  EXPECT_EQ(turns, 1);
}

// Wake-ups 2 ms apart: none is early, and the median is met on time (5 ms bear a busy machine).
TEST(Loop, WakesOnTimeAndNeverEarly) {
  Loop loop;
  std::vector<Duration> lateness;
  Instant wake_up = kNever;
  loop.run([&] {
    const Instant now = read_steady();
    if (wake_up != kNever) {
      EXPECT_GE(now, wake_up);
      lateness.push_back(now - wake_up);
    }
    if (lateness.size() == 101) loop.stop();
    return wake_up = read_steady() + 2ms;
  });
  std::sort(lateness.begin(), lateness.end());
  EXPECT_LT(lateness[lateness.size() / 2], 5ms);
}

// Without work and wake-up nothing runs: a task from another thread, 50 ms later, is the only cause of a turn.
TEST(Loop, NeverSpins) {
  Loop loop;
  int turns = 0;
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    loop.post([&] { loop.stop(); });
  });
  loop.run([&] {
    ++turns;
    return kNever;
  });
  other.join();
  EXPECT_EQ(turns, 1);
}

TEST(Loop, AWakeUpInThePastMeansAnotherTurnAtOnce) {
  Loop loop;
  int turns = 0;
  loop.run([&] {
    if (++turns == 5) loop.stop();
    return read_steady() - 1s;
  });
  EXPECT_EQ(turns, 5);
  loop.run([&] {
    if (++turns == 8) loop.stop();
    return Instant{};
  });
  EXPECT_EQ(turns, 8);
}

// Moving the next wake-up further away and then nearer again must not lose it.
TEST(Loop, AnEarlierWakeUpReplacesALaterOne) {
  Loop loop;
  const Instant begin = read_steady();
  int turns = 0;
  loop.run([&]() -> Instant {
    ++turns;
    if (read_steady() - begin >= 20ms) loop.stop();
    if (turns == 1) {
      loop.post([] {});
      return begin + 1h;
    }
    return begin + 20ms;
  });
  EXPECT_GE(read_steady() - begin, 20ms);
  EXPECT_LT(read_steady() - begin, 10s);
}

// A handler that always has a successor ready may delay a turn by no more than the bound.
TEST(Loop, ATurnRunsABoundedNumberOfHandlers) {
  Loop loop;
  std::uint64_t ran = 0;
  std::function<void()> again = [&] {
    ++ran;
    asio::post(loop.context(), again);
  };
  loop.post(again);
  std::uint64_t ran_before = 0;
  int turns = 0;
  loop.run([&] {
    EXPECT_LE(ran - ran_before, static_cast<std::uint64_t>(Loop::kHandlersPerTurnMax));
    ran_before = ran;
    if (++turns == 10) loop.stop();
    return kNever;
  });
  EXPECT_GE(ran, 8u * Loop::kHandlersPerTurnMax);
}

TEST(Loop, PostsFromManyThreadsAllRunOnTheLoopThread) {
  Loop loop;
  constexpr int kThreads = 4;
  constexpr int kPosts = 1000;
  int ran = 0;
  const auto loop_thread = std::this_thread::get_id();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kPosts; ++i) {
        loop.post([&] {
          EXPECT_EQ(std::this_thread::get_id(), loop_thread);
          if (++ran == kThreads * kPosts) loop.stop();
        });
      }
    });
  }
  loop.run([] { return kNever; });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ran, kThreads * kPosts);
}

TEST(Clocks, SteadyGoesOnAndWallIsOfThisCentury) {
  const Instant a = read_steady();
  const Instant b = read_steady();
  EXPECT_LE(a, b);
  EXPECT_GT(to_ms(read_wall()), 1'600'000'000'000);
  EXPECT_EQ(read_boot_id().size(), 36u);
}

}  // namespace
}  // namespace defib::net
