// The guide's promises, sentence by sentence, and the faults of its own code by their numbers (docs: T-xx),
// as far as the engine keeps them. Pretend time; each test opens with what the guide says or gets wrong.
#include <gtest/gtest.h>

#include "base/ids.h"
#include "testing/stage.h"

namespace defib::stage {
namespace {

using core::State;

core::Rules rules_with(core::Policy policy) {
  core::Rules rules;
  rules.channels = {"oncall"};
  rules.policies.push_back(std::move(policy));
  return rules;
}

core::Step restart(std::uint32_t attempts = 2) {
  return {
      .kind = core::StepKind::restart, .with = "exec", .command = {"restart-agent", "{agentId}"}, .attempts = attempts};
}
core::Step replace() {
  return {.kind = core::StepKind::replace, .with = "exec", .command = {"replace"}, .allow_two = true};
}
core::Step alert() { return {.kind = core::StepKind::alert}; }

// The guide's ladder: restart, then replace, then alert.
core::Rules guide_rules() { return rules_with({.recovery = {restart(1), replace(), alert()}}); }

std::size_t count_transitions(const Stage& stage, std::string_view agent, std::string_view what) {
  std::size_t count = 0;
  for (const core::Announce& line : stage.all<core::Announce>()) {
    count += line.record.agent_id == agent && line.record.what == what && line.record.kind == core::EventKind::agent;
  }
  return count;
}

core::ActionFinished done(const core::PerformAction& action) {
  return {action.incident, action.attempt, core::ActionEnd::done, ""};
}

// ---- "Key takeaways" -----------------------------------------------------------------------------

TEST(Guide, HeartbeatIntervalIs30SecondsByDefaultAndThreeOfThemDeclareFailure) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a"});
  stage.advance(93s - 1ms);
  EXPECT_EQ(stage.state("a"), State::missing);
  stage.advance(2ms);
  EXPECT_EQ(stage.state("a"), State::failed);
}

TEST(Guide, CriticalAgentsBeatEvery10Seconds) {
  Stage stage(rules_with({.match_type = "critical", .interval = 10s}));
  stage.beat({.agent = "a", .type = "critical"});
  stage.beat({.agent = "b", .type = "other"});
  stage.advance(32s);
  EXPECT_EQ(stage.state("a"), State::failed);
  EXPECT_EQ(stage.state("b"), State::healthy);
}

TEST(Guide, RecoveryIsRestartThenFallbackThenHumanAlert) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a", .instance = "i1"});
  stage.advance(94s);
  ASSERT_EQ(stage.all<core::PerformAction>().size(), 1U);
  EXPECT_EQ(stage.all<core::PerformAction>()[0].step.kind, core::StepKind::restart);
  EXPECT_TRUE(stage.all<core::SendNotice>().empty());
  stage.give(done(stage.all<core::PerformAction>()[0]));
  stage.advance(2min);
  ASSERT_EQ(stage.all<core::PerformAction>().size(), 2U);
  EXPECT_EQ(stage.all<core::PerformAction>()[1].step.kind, core::StepKind::replace);
  stage.give(done(stage.all<core::PerformAction>()[1]));
  EXPECT_TRUE(stage.all<core::SendNotice>().empty());
  stage.advance(2min);
  ASSERT_EQ(stage.all<core::SendNotice>().size(), 1U);
  EXPECT_EQ(stage.all<core::SendNotice>()[0].notice.severity, "critical");
}

TEST(Guide, GracefulShutdownDeregistersAndIsNoFalsePositive) {
  Stage stage(guide_rules());
  stage.give(core::RecordWritten{.agent_id = "a", .registered_at_ms = to_ms(stage.wall()), .pid = 7});
  stage.beat({.agent = "a"});
  stage.advance(20s);
  stage.give(core::RecordWritten{.agent_id = "a", .stopped_at_ms = to_ms(stage.wall())});
  stage.advance(1h);
  EXPECT_EQ(stage.state("a"), State::stopped);
  EXPECT_TRUE(stage.all<core::PerformAction>().empty());
  EXPECT_TRUE(stage.all<core::SendNotice>().empty());
}

// ---- Step 3: "A quiet agent is first marked missing, not failed." ----------------------------------

TEST(Guide, AQuietAgentIsFirstMissingNotFailed) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a"});
  stage.advance(34s);
  EXPECT_EQ(stage.state("a"), State::missing);
  EXPECT_TRUE(stage.all<core::PerformAction>().empty());
}

TEST(Guide, ASingleDroppedPacketSetsOffNoRecovery) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a"});
  stage.advance(60s);
  stage.beat({.agent = "a", .sequence = 3});
  stage.advance(20s);
  EXPECT_EQ(stage.state("a"), State::healthy);
  EXPECT_TRUE(stage.all<core::PerformAction>().empty());
}

TEST(Guide, AgentRecoveredIsToldWhenItBeatsAgain) {
  Stage stage(rules_with({.recovery = {}}));
  stage.beat({.agent = "a"});
  stage.advance(94s);
  stage.beat({.agent = "a"});
  EXPECT_EQ(stage.state("a"), State::healthy);
  EXPECT_EQ(count_transitions(stage, "a", "healthy"), 2U);
}

// ---- Step 4: "Only when both fail does a person get paged." ---------------------------------------

TEST(Guide, AFailureThatTheSystemHandledPagesNobody) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a", .instance = "i1"});
  stage.advance(94s);
  stage.give(done(stage.all<core::PerformAction>().at(0)));
  stage.beat({.agent = "a", .instance = "i2"});
  stage.advance(20s);
  EXPECT_TRUE(stage.all<core::SendNotice>().empty());
  EXPECT_EQ(stage.engine().incidents(std::nullopt, 0, 10).at(0).outcome, "recovered");
}

// ---- Detection -----------------------------------------------------------------------------------

TEST(Fault, T01TheIntervalOfTheBeatHolds) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a", .interval = 5s});
  stage.advance(16s);
  EXPECT_EQ(stage.state("a"), State::failed);
}

TEST(Fault, T02TheThresholdIsAppliedOnce) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a"});
  stage.advance(93s + 1ms);
  EXPECT_EQ(stage.state("a"), State::failed);
}

TEST(Fault, T03MissedBeatsAreElapsedTimeNotSweeps) {
  Stage stage(rules_with({.missed_beats = 10}));
  stage.beat({.agent = "a"});
  stage.advance(100s);
  for (int i = 0; i < 50; ++i) stage.advance(10ms);
  EXPECT_EQ(stage.engine().agent(stage.now(), "a")->missed_beats, 3U);
}

TEST(Fault, T04AThresholdOfOneHasMissingToo) {
  Stage stage(rules_with({.interval = 10s, .missed_beats = 1}));
  stage.beat({.agent = "a"});
  stage.advance(10s + 1ms);
  EXPECT_EQ(stage.state("a"), State::missing);
  stage.advance(1s);
  EXPECT_EQ(stage.state("a"), State::failed);
}

TEST(Fault, T05OneFailureFiresOnce) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a"});
  stage.advance(10min);
  EXPECT_EQ(count_transitions(stage, "a", "failed"), 1U);
  EXPECT_EQ(stage.engine().incidents(std::nullopt, 0, 10).size(), 1U);
}

TEST(Fault, T06TheSendersClockDecidesNothing) {
  Stage stage(guide_rules());
  stage.heart({.agent = "behind", .skew_ms = -600'000}, 30s);
  stage.beat({.agent = "ahead", .skew_ms = 3'600'000});
  stage.advance(94s);
  EXPECT_EQ(stage.state("ahead"), State::failed);
  EXPECT_EQ(stage.state("behind"), State::healthy);
}

TEST(Fault, T07AStepOfTheWallClockAndASleepOfTheHostFailNobody) {
  Stage stage(guide_rules());
  stage.heart({.agent = "a"}, 30s);
  stage.advance(65s);
  stage.step_wall_clock(2h);
  stage.advance(1s);
  EXPECT_EQ(stage.state("a"), State::healthy);
  stage.jump(8h);
  EXPECT_EQ(count_transitions(stage, "a", "failed"), 0U);
}

TEST(Fault, T09AReplayedOldBeatRevivesNobody) {
  Stage stage(rules_with({.recovery = {}}));
  stage.beat({.agent = "a", .sequence = 1});
  stage.advance(30s);
  stage.beat({.agent = "a", .sequence = 2});
  stage.advance(94s);
  EXPECT_EQ(stage.beat({.agent = "a", .sequence = 1, .skew_ms = -124'000}), core::Answer::stale);
  EXPECT_EQ(stage.beat({.agent = "a", .sequence = 2, .skew_ms = -94'000}), core::Answer::stale);
  EXPECT_EQ(stage.state("a"), State::failed);
}

TEST(Fault, T10StatusIsReadAndShown) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a", .status = core::Status::degraded});
  EXPECT_EQ(stage.engine().agent(stage.now(), "a")->status, core::Status::degraded);
  stage.beat({.agent = "a", .status = core::Status::stopped});
  EXPECT_EQ(stage.state("a"), State::stopped);
}

TEST(Fault, T11AnAgentIsKnownFromItsRegistration) {
  Stage stage(guide_rules());
  stage.give(core::RecordWritten{.agent_id = "a", .registered_at_ms = to_ms(stage.wall())});
  EXPECT_EQ(stage.state("a"), State::starting);
}

TEST(Fault, T12MissingToHealthyIsTold) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a"});
  stage.advance(40s);
  stage.forget();
  stage.beat({.agent = "a"});
  EXPECT_EQ(count_transitions(stage, "a", "healthy"), 1U);
}

TEST(Fault, T15ARedisOutageFailsNobody) {
  Stage stage(guide_rules());
  for (const char* id : {"a", "b", "c"}) stage.beat({.agent = id, .source = core::Source::redis});
  stage.advance(10s);
  stage.give(core::SourceBlind{core::Source::redis, stage.now(), "no connection"});
  stage.advance(1h);
  stage.give(core::SourceSighted{core::Source::redis, true});
  stage.advance(32s);
  EXPECT_EQ(stage.engine().counts()[static_cast<std::size_t>(State::failed)], 0U);
  EXPECT_TRUE(stage.all<core::PerformAction>().empty());
}

TEST(Fault, T16ABlindMonitorSaysSoAndDoesNotJudge) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a", .source = core::Source::redis});
  stage.give(core::SourceBlind{core::Source::redis, stage.now(), "no connection"});
  EXPECT_TRUE(stage.engine().sources()[static_cast<std::size_t>(core::Source::redis)].is_blind);
  stage.advance(1h);
  EXPECT_EQ(stage.state("a"), State::healthy);
}

TEST(Fault, T18AnIntervalAbove90SecondsDoesNotFlap) {
  Stage stage(guide_rules());
  stage.heart({.agent = "a", .interval = 10min}, 10min);
  stage.beat({.agent = "a", .interval = 10min});
  stage.advance(6h);
  EXPECT_EQ(count_transitions(stage, "a", "missing"), 0U);
}

// ---- State and identity --------------------------------------------------------------------------

TEST(Fault, T20AMonitorRestartForgetsNobody) {
  Stage stage(guide_rules());
  stage.beat({.agent = "dies"});
  stage.heart({.agent = "lives"}, 30s);
  stage.advance(40s);
  stage.crash(5s);
  EXPECT_EQ(stage.engine().counts()[static_cast<std::size_t>(State::failed)], 0U);
  stage.advance(2min);
  EXPECT_EQ(stage.state("dies"), State::failed);
  EXPECT_EQ(stage.state("lives"), State::healthy);
}

TEST(Fault, T22HostPidAndTaskAreThereWhenRecoveryNeedsThem) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a", .host = "h1", .pid = 42, .task = "issue 7"});
  stage.advance(94s);
  const core::PerformAction action = stage.all<core::PerformAction>().at(0);
  EXPECT_EQ(action.host, "h1");
  EXPECT_EQ(action.pid, 42);
  EXPECT_EQ(action.current_task, "issue 7");
}

TEST(Fault, T24ACrashBeforeTheFirstBeatIsFound) {
  Stage stage(guide_rules());
  stage.give(core::RecordWritten{.agent_id = "a", .registered_at_ms = to_ms(stage.wall())});
  stage.advance(5min + 1ms);
  EXPECT_EQ(stage.state("a"), State::failed);
}

TEST(Fault, T26ABeatOfTheReplacedProcessDoesNotCount) {
  Stage stage(rules_with({.recovery = {replace(), alert()}}));
  stage.beat({.agent = "a", .instance = "i1"});
  stage.advance(94s);
  stage.give(done(stage.all<core::PerformAction>().at(0)));
  EXPECT_EQ(stage.beat({.agent = "a", .instance = "i1"}), core::Answer::fenced);
  EXPECT_EQ(stage.state("a"), State::failed);
  stage.beat({.agent = "a", .instance = "i2"});
  EXPECT_EQ(stage.state("a"), State::healthy);
}

TEST(Fault, T27ARestartIsNoReplayAndTwoUnderOneIdAreSeen) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a", .sequence = 50});
  stage.advance(30s);
  EXPECT_EQ(stage.beat({.agent = "a", .sequence = 1}), core::Answer::accepted);
  stage.heart({.agent = "b", .instance = "i1"}, 30s);
  stage.heart({.agent = "b", .instance = "i2"}, 30s);
  stage.advance(2min);
  EXPECT_TRUE(stage.engine().agent(stage.now(), "b")->is_conflict);
}

TEST(Fault, T28TheTableHasABound) {
  core::Rules rules = guide_rules();
  rules.bounds.agents = 2;
  Stage stage(rules);
  stage.beat({.agent = "a"});
  stage.beat({.agent = "b"});
  EXPECT_EQ(stage.beat({.agent = "c"}), core::Answer::table_full);
  EXPECT_FALSE(stage.engine().agent(stage.now(), "c").has_value());
}

TEST(Fault, T29UptimeIsTheAgeOfTheInstance) {
  Stage stage(guide_rules());
  stage.heart({.agent = "a", .skew_ms = -600'000}, 30s);
  stage.beat({.agent = "a", .skew_ms = -600'000});
  stage.advance(10min);
  EXPECT_EQ(stage.engine().agent(stage.now(), "a")->uptime_seconds, 600);
}

TEST(Fault, T30MetricsTaskTypeAndHostAreKept) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a", .type = "coder", .host = "h", .task = "t", .metrics = core::Metrics{.cpu_percent = 12.5}});
  const auto view = stage.engine().agent(stage.now(), "a");
  EXPECT_EQ(view->type, "coder");
  EXPECT_EQ(view->host, "h");
  EXPECT_EQ(view->current_task, "t");
  EXPECT_EQ(view->metrics->cpu_percent, 12.5);
}

TEST(Fault, T31StoppedIsSet) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a", .status = core::Status::stopped});
  EXPECT_EQ(stage.state("a"), State::stopped);
}

// ---- Monitor -------------------------------------------------------------------------------------

TEST(Fault, T61OnlyGoodIdsMakeAgents) {
  EXPECT_FALSE(is_valid_agent_id(""));
  EXPECT_FALSE(is_valid_agent_id("-rf"));
  EXPECT_FALSE(is_valid_agent_id("a;reboot"));
  EXPECT_FALSE(is_valid_agent_id("$(id)"));
  EXPECT_TRUE(is_valid_agent_id("planner-1.prod:eu"));
}

TEST(Fault, T62TroubleWithOneAgentDoesNotKeepOthersFromBeingJudged) {
  Stage stage(guide_rules());
  stage.set_auto_persist(false);
  stage.beat({.agent = "a"});
  stage.beat({.agent = "b"});
  stage.advance(94s);
  EXPECT_EQ(stage.state("a"), State::failed);
  EXPECT_EQ(stage.state("b"), State::failed);
}

// ---- Recovery ------------------------------------------------------------------------------------

TEST(Fault, T71NoRestartLivelock) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a"});
  for (int minute = 0; minute < 60; ++minute) {
    stage.advance(1min);
    for (const core::PerformAction& action : stage.all<core::PerformAction>()) stage.give(done(action));
  }
  EXPECT_LE(stage.all<core::PerformAction>().size(), 2U);
}

TEST(Fault, T72AnExitCodeOfZeroIsNoRecovery) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a"});
  stage.advance(94s);
  stage.give(done(stage.all<core::PerformAction>().at(0)));
  EXPECT_EQ(stage.engine().incidents(true, 0, 10).size(), 1U);
  EXPECT_EQ(stage.state("a"), State::failed);
}

TEST(Fault, T73BudgetStopsACrashLoop) {
  Stage stage(
      rules_with({.interval = 1s, .recovery = {restart(1), alert()}, .limits = {.recoveries = 2, .per = 10min}}));
  for (int life = 1; life <= 5; ++life) {
    stage.beat({.agent = "a", .instance = "i" + std::to_string(life)});
    stage.advance(10s);
    for (const core::PerformAction& action : stage.all<core::PerformAction>()) stage.give(done(action));
  }
  EXPECT_EQ(stage.all<core::PerformAction>().size(), 2U);
  EXPECT_FALSE(stage.all<core::SendNotice>().empty());
}

TEST(Fault, T74RecoveriesOfOneAgentDoNotOverlap) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a", .instance = "i1", .is_runner = true});
  stage.advance(94s);
  stage.beat({.agent = "a", .instance = "i1", .is_runner = true, .exit = BeatSpec::ExitSpec{.code = 1}});
  stage.give(core::FailureReported{.agent_id = "a", .detail = "bad"});
  EXPECT_EQ(stage.all<core::PerformAction>().size(), 1U);
  EXPECT_EQ(stage.engine().incidents(true, 0, 10).size(), 1U);
}

TEST(Fault, T75ASecondReplacementHasAnInstanceOfItsOwn) {
  Stage stage(rules_with({.recovery = {replace(), alert()}}));
  stage.beat({.agent = "a", .instance = "i1"});
  stage.advance(94s);
  stage.give(done(stage.all<core::PerformAction>().at(0)));
  const std::string first = stage.all<core::PerformAction>().at(0).new_instance_id;
  stage.beat({.agent = "a", .instance = first});
  stage.advance(2min);
  ASSERT_EQ(stage.all<core::PerformAction>().size(), 2U);
  EXPECT_NE(stage.all<core::PerformAction>().at(1).new_instance_id, first);
}

TEST(Fault, T76TheOriginalIsToldToStop) {
  Stage stage(rules_with({.recovery = {replace(), alert()}}));
  stage.beat({.agent = "a", .instance = "i1"});
  stage.advance(94s);
  stage.give(done(stage.all<core::PerformAction>().at(0)));
  stage.beat({.agent = "a", .instance = "i1"});
  ASSERT_FALSE(stage.all<core::SendCommand>().empty());
  EXPECT_EQ(stage.all<core::SendCommand>()[0].command, "fence");
  EXPECT_EQ(stage.all<core::SendCommand>()[0].instance_id, "i1");
}

TEST(Fault, T78TheOpenTaskIsHandedOver) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a", .task = "issue 7", .task_progress = 40, .capsule = "step 3"});
  stage.advance(94s);
  const core::PerformAction action = stage.all<core::PerformAction>().at(0);
  EXPECT_EQ(action.current_task, "issue 7");
  EXPECT_EQ(action.task_progress, 40);
  EXPECT_EQ(action.capsule, "step 3");
}

// ---- Alerts and page -----------------------------------------------------------------------------

TEST(Fault, T91AnAlertIsTriedAgainUntilItIsDelivered) {
  Stage stage(rules_with({.recovery = {alert()}}));
  stage.set_auto_deliver(false);
  stage.beat({.agent = "a"});
  stage.advance(104s);
  ASSERT_EQ(stage.all<core::SendNotice>().size(), 1U);
  const core::NoticeId notice = stage.all<core::SendNotice>()[0].notice.id;
  stage.give(core::Delivered{.notice = notice, .end = core::DeliveryEnd::retry_later, .detail = "503"});
  stage.advance(2s);
  EXPECT_EQ(stage.all<core::SendNotice>().size(), 2U);
}

TEST(Fault, T92OneFailureIsOneAlertAndItIsResolved) {
  Stage stage(rules_with({.recovery = {alert()}}));
  stage.beat({.agent = "a"});
  stage.advance(1h);
  ASSERT_EQ(stage.all<core::SendNotice>().size(), 1U);
  stage.beat({.agent = "a"});
  stage.advance(10s);
  ASSERT_EQ(stage.all<core::SendNotice>().size(), 2U);
  EXPECT_EQ(stage.all<core::SendNotice>()[1].notice.status, core::NoticeStatus::resolved);
}

TEST(Fault, T94AnUnknownIdIsNotFound) {
  Stage stage(guide_rules());
  EXPECT_FALSE(stage.engine().agent(stage.now(), "nobody").has_value());
  EXPECT_FALSE(stage.engine().why(stage.now(), "nobody").has_value());
}

TEST(Fault, T95TheCountsAddUp) {
  Stage stage(guide_rules());
  stage.beat({.agent = "a"});
  stage.beat({.agent = "b", .status = core::Status::stopped});
  stage.give(core::RecordWritten{.agent_id = "c", .registered_at_ms = to_ms(stage.wall())});
  stage.advance(50s);
  stage.beat({.agent = "d"});
  std::uint64_t total = 0;
  for (const std::uint64_t count : stage.engine().counts()) total += count;
  EXPECT_EQ(total, 4U);
  EXPECT_EQ(stage.engine().counts()[static_cast<std::size_t>(State::missing)], 1U);
}

}  // namespace
}  // namespace defib::stage
