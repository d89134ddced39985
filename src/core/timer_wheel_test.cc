#include "core/timer_wheel.h"

#include <gtest/gtest.h>
#include <map>

#include "base/prng.h"

namespace defib::core {
namespace {

constexpr Duration kTick = Duration(1 << 18);

TEST(TimerWheel, FiresWithinOneTickAndNeverEarly) {
  TimerWheel wheel;
  std::vector<TimerWheel::Key> due;
  const Instant deadline{Duration(93s)};
  wheel.expire(Instant(Duration(1s)), due);
  wheel.arm(7, deadline);
  wheel.expire(deadline - 1ns, due);
  EXPECT_TRUE(due.empty());
  EXPECT_LE(wheel.next(), deadline + kTick);
  wheel.expire(deadline + kTick, due);
  EXPECT_EQ(due, std::vector<TimerWheel::Key>{7});
  EXPECT_EQ(wheel.next(), kNever);
}

TEST(TimerWheel, RearmingReplacesAndDisarmingForgets) {
  TimerWheel wheel;
  std::vector<TimerWheel::Key> due;
  wheel.arm(1, Instant(Duration(5s)));
  wheel.arm(1, Instant(Duration(9s)));
  wheel.arm(2, Instant(Duration(5s)));
  wheel.disarm(2);
  wheel.expire(Instant(Duration(6s)), due);
  EXPECT_TRUE(due.empty());
  wheel.expire(Instant(Duration(10s)), due);
  EXPECT_EQ(due, std::vector<TimerWheel::Key>{1});
}

TEST(TimerWheel, AnOverdueDeadlineFiresAtTheNextTick) {
  TimerWheel wheel;
  std::vector<TimerWheel::Key> due;
  wheel.expire(Instant(Duration(100s)), due);
  wheel.arm(3, Instant(Duration(-5s)));
  wheel.expire(Instant(Duration(100s) + 2 * kTick), due);
  EXPECT_EQ(due.size(), 1U);
}

// Against a plain ordered map, over spans from a tick to a month, stepping by next() as the engine does.
TEST(TimerWheel, AgreesWithAMapUnderRandomUse) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Prng prng(seed);
    TimerWheel wheel;
    std::map<TimerWheel::Key, Instant> model;
    std::vector<TimerWheel::Key> due;
    Instant now{Duration(prng.between(0, 1'000'000'000'000'000))};
    wheel.expire(now, due);
    for (int i = 0; i < 3000; ++i) {
      const auto key = static_cast<TimerWheel::Key>(prng.below(200));
      if (prng.chance(500'000)) {
        const Instant deadline =
            now + Duration(static_cast<std::int64_t>(prng.next() >> (13 + prng.below(40))) % (30 * 24h).count());
        wheel.arm(key, deadline);
        model[key] = deadline;
      } else if (prng.chance(100'000)) {
        wheel.disarm(key);
        model.erase(key);
      } else {
        const Instant next = wheel.next();
        now = next != kNever && prng.chance(700'000) ? std::max(now, next)
                                                     : now + Duration(prng.between(0, 5'000'000'000));
        due.clear();
        wheel.expire(now, due);
        for (const TimerWheel::Key fired : due) {
          ASSERT_TRUE(model.contains(fired)) << "seed " << seed;
          ASSERT_LE(model[fired], now) << "seed " << seed;
          model.erase(fired);
        }
        for (const auto& [waiting, deadline] : model) {
          ASSERT_GT(deadline + kTick, now) << "seed " << seed << ": key " << waiting << " was not fired";
        }
      }
    }
  }
}

}  // namespace
}  // namespace defib::core
