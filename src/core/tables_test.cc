// Walks every cell of the two tables: states by stimulus, and phases by phase.
#include <gtest/gtest.h>

#include "core/incident.h"
#include "core/state_table.h"

namespace defib::core {
namespace {

using enum State;
using enum Stimulus;

struct Row {
  Stimulus stimulus;
  // In the order of State: starting, healthy, missing, failed, stalled, stopped.
  std::array<State, kStateCount> next;
};

TEST(StateTable, EveryCellIsAsTheRulesSay) {
  const std::array<Row, kStimulusCount> rows = {{
      {registered, {starting, starting, starting, failed, starting, starting}},
      {beat, {healthy, healthy, healthy, healthy, stalled, healthy}},
      {goodbye, {stopped, stopped, stopped, stopped, stopped, stopped}},
      {interval_passed, {starting, missing, missing, failed, missing, stopped}},
      {threshold_passed, {starting, failed, failed, failed, failed, stopped}},
      {startup_passed, {failed, healthy, missing, failed, stalled, stopped}},
      {exited_clean, {stopped, stopped, stopped, stopped, stopped, stopped}},
      {exited_bad, {failed, failed, failed, failed, failed, stopped}},
      {failure_reported, {failed, failed, failed, failed, failed, stopped}},
  }};
  for (std::size_t s = 0; s < kStimulusCount; ++s) {
    EXPECT_EQ(rows[s].stimulus, static_cast<Stimulus>(s));
    for (std::size_t state = 0; state < kStateCount; ++state) {
      EXPECT_EQ(next_state(static_cast<State>(state), rows[s].stimulus), rows[s].next[state])
          << name(static_cast<State>(state)) << " x " << name(rows[s].stimulus);
    }
  }
}

TEST(StateTable, NothingButABeatMakesAnAgentHealthy) {
  for (std::size_t s = 0; s < kStimulusCount; ++s) {
    for (std::size_t state = 0; state < kStateCount; ++state) {
      const auto from = static_cast<State>(state);
      if (from == healthy || static_cast<Stimulus>(s) == beat) continue;
      EXPECT_NE(next_state(from, static_cast<Stimulus>(s)), healthy)
          << name(from) << " x " << name(static_cast<Stimulus>(s));
    }
  }
}

TEST(PhaseTable, EveryPhaseReachesTheEndAndNoneLeavesIt) {
  for (std::size_t from = 0; from < kPhaseCount; ++from) {
    const auto phase = static_cast<Phase>(from);
    EXPECT_EQ(is_legal_move(phase, Phase::closed), phase != Phase::closed) << name(phase);
    EXPECT_FALSE(is_legal_move(Phase::closed, phase)) << name(phase);
  }
}

TEST(PhaseTable, NobodyActsWithoutTheJournal) {
  for (std::size_t from = 0; from < kPhaseCount; ++from) {
    const auto phase = static_cast<Phase>(from);
    EXPECT_EQ(is_legal_move(phase, Phase::acting), phase == Phase::persisting) << name(phase);
  }
}

TEST(PhaseTable, AHoldIsNeverEnteredWhileAnAttemptIsMade) {
  EXPECT_FALSE(is_legal_move(Phase::acting, Phase::held));
  EXPECT_FALSE(is_legal_move(Phase::persisting, Phase::held));
}

}  // namespace
}  // namespace defib::core
