// A fixed set of seeds, so that every build has held the promises; `make sim` goes on from there.
#include <gtest/gtest.h>

#include "sim/report.h"
#include "sim/world.h"

namespace defib::sim {
namespace {

class Seeds : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(Seeds, EveryPromiseHolds) {
  const Outcome outcome = World({.seed = GetParam(), .length = 12h}).run();
  EXPECT_FALSE(outcome.violation.has_value()) << failure(outcome);
  EXPECT_GT(outcome.tally.beats, 0U);
}

INSTANTIATE_TEST_SUITE_P(Fixed, Seeds, ::testing::Range<std::uint64_t>(1, 13));

TEST(World, OneSeedGivesOneRun) {
  const Options options{.seed = 7, .agents = 60, .length = 6h};
  const Outcome first = World(options).run();
  const Outcome second = World(options).run();
  EXPECT_EQ(first.tally.effects_hash, second.tally.effects_hash);
  EXPECT_EQ(first.tally.beats, second.tally.beats);
  const Outcome other = World({.seed = 8, .agents = 60, .length = 6h}).run();
  EXPECT_NE(first.tally.effects_hash, other.tally.effects_hash);
}

// A world in which nothing dies would prove nothing.
TEST(World, AgentsDieAndAreRecovered) {
  const Outcome outcome = World({.seed = 3, .agents = 100, .length = 24h}).run();
  EXPECT_GT(outcome.tally.deaths, 50U);
  EXPECT_GT(outcome.tally.verdicts, 20U);
  EXPECT_GT(outcome.tally.attempts, 20U);
  EXPECT_GT(outcome.tally.recoveries, 10U);
}

}  // namespace
}  // namespace defib::sim
