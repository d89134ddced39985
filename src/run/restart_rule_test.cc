#include "run/restart_rule.h"

#include <gtest/gtest.h>

#include "core/policy.h"

namespace defib::run {
namespace {

using Kind = Decision::Kind;

TEST(RestartRule, WithoutAGrantTheModeDecides) {
  RestartRule never(RestartMode::no, 1);
  EXPECT_EQ(never.on_exit(true, 1s, true).kind, Kind::end);
  RestartRule on_failure(RestartMode::on_failure, 1);
  EXPECT_EQ(on_failure.on_exit(true, 1s, true).kind, Kind::after);
  EXPECT_EQ(on_failure.on_exit(false, 1s, true).kind, Kind::end);
  RestartRule always(RestartMode::always, 1);
  EXPECT_EQ(always.on_exit(false, 1s, true).kind, Kind::after);
}

TEST(RestartRule, BackOffDoublesWithJitterUpToItsCapAndForgetsAfterALongLife) {
  RestartRule rule(RestartMode::on_failure, 7);
  Duration base = core::kBackoffFirst;
  for (int i = 0; i < 12; ++i) {
    const Decision decision = rule.on_exit(true, 1s, false);
    ASSERT_EQ(decision.kind, Kind::after);
    EXPECT_GE(decision.delay, base * 8 / 10) << i;
    EXPECT_LE(decision.delay, base * 12 / 10) << i;
    base = std::min(base * 2, core::kBackoffCap);
  }
  EXPECT_EQ(base, core::kBackoffCap);
  EXPECT_LE(rule.on_exit(true, core::kBackoffForgetAfter, false).delay, core::kBackoffFirst * 12 / 10);
}

TEST(RestartRule, AGrantIsSpentAtOnceAndThenTheMonitorDecides) {
  RestartRule rule(RestartMode::no, 1);
  rule.grant(2);
  for (std::uint32_t i = 1; i <= 2; ++i) {
    const Decision decision = rule.on_exit(true, 0s, false);
    EXPECT_EQ(decision.kind, Kind::now);
    EXPECT_EQ(rule.spent(), i);
  }
  EXPECT_EQ(rule.on_exit(true, 0s, true).kind, Kind::wait_for_monitor);
  // A new grant counts anew.
  rule.grant(1);
  EXPECT_EQ(rule.spent(), 0U);
  EXPECT_EQ(rule.on_exit(true, 0s, true).kind, Kind::now);
}

TEST(RestartRule, WithTheMonitorGoneTheModeDecidesAgain) {
  RestartRule rule(RestartMode::on_failure, 1);
  rule.grant(0);
  EXPECT_EQ(rule.on_exit(true, 1s, false).kind, Kind::after);
  EXPECT_EQ(rule.on_exit(true, 1s, true).kind, Kind::wait_for_monitor);
  EXPECT_EQ(rule.on_monitor_lost(true).kind, Kind::after);
  RestartRule never(RestartMode::no, 1);
  EXPECT_EQ(never.on_monitor_lost(true).kind, Kind::end);
}

TEST(RestartRule, ACleanEndSpendsNoGrant) {
  RestartRule rule(RestartMode::on_failure, 1);
  rule.grant(3);
  EXPECT_EQ(rule.on_exit(false, 1s, true).kind, Kind::end);
  EXPECT_EQ(rule.spent(), 0U);
}

}  // namespace
}  // namespace defib::run
