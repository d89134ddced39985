// What a monitor hears of a program under `defib run`, and what it can have done to it.
#include <chrono>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <string>
#include <vector>

#include "run/fake_monitor.h"
#include "run/process_tree.h"
#include "run/test_process.h"

namespace defib::run {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

std::vector<std::string> under(const FakeMonitor& monitor, const std::string& script,
                               std::string restart = "on-failure") {
  return {"--url", monitor.url(), "--id", "a1",        "--interval-ms",
          "200",   "--grace-ms",  "500",  "--restart", std::move(restart),
          "--",    "/bin/sh",     "-c",   script};
}

json::object command(int id, std::string_view name, std::string_view instance = {}) {
  return {{"id", std::to_string(id)},
          {"command", name},
          {"agentId", "a1"},
          {"instanceId", instance.empty() ? json::value(nullptr) : json::value(instance)},
          {"reason", "because of the test"},
          {"expiresInMs", 60'000}};
}

json::object grant(int id, int restarts) {
  json::object out = command(id, "grant");
  out["restarts"] = restarts;
  return out;
}

std::string text(const json::object& message, std::string_view key) { return std::string(message.at(key).as_string()); }

const std::string kForever = "echo ready; while :; do sleep 0.05; done";

TEST(RunnerAndMonitor, RegistersBeatsAndSaysGoodbye) {
  FakeMonitor monitor;
  TestProcess runner(under(monitor, kForever));
  ASSERT_TRUE(monitor.wait_for(3, is_beat));
  const auto hash = monitor.hash("agent:a1");
  EXPECT_EQ(hash.at("type"), "program");
  EXPECT_FALSE(hash.at("registeredAt").empty());
  EXPECT_EQ(hash.count("stoppedAt"), 0U);
  EXPECT_EQ(monitor.expiry("agent:a1"), 3600);
  const auto beats = monitor.messages(is_beat);
  EXPECT_EQ(text(beats[0], "agentId"), "a1");
  EXPECT_EQ(beats[0].at("intervalMs").as_int64(), 200);
  EXPECT_EQ(std::to_string(beats[0].at("pid").as_int64()), hash.at("pid"));
  EXPECT_GT(beats[1].at("metrics").at("memoryMB").to_number<double>(), 0);
  EXPECT_LT(beats[0].at("sequence").as_int64(), beats[1].at("sequence").as_int64());
  EXPECT_EQ(text(beats[0], "instanceId").size(), 16U);

  runner.send_signal(SIGTERM);
  EXPECT_EQ(runner.wait(), 128 + SIGTERM);
  ASSERT_TRUE(monitor.wait_for(1, is_goodbye));
  EXPECT_FALSE(monitor.messages(is_goodbye)[0].contains("exit"));
  EXPECT_EQ(monitor.hash("agent:a1").at("status"), "stopped");
  EXPECT_GE(std::stoll(monitor.hash("agent:a1").at("stoppedAt")), std::stoll(hash.at("registeredAt")));
  EXPECT_TRUE(monitor.messages(is_exit).empty());
}

TEST(RunnerAndMonitor, AProgramThatEndsWellSaysGoodbyeEvenWhenItIsQuick) {
  FakeMonitor monitor;
  TestProcess runner(under(monitor, "exit 0"));
  EXPECT_EQ(runner.wait(), 0);
  ASSERT_TRUE(monitor.wait_for(1, is_goodbye));
  EXPECT_EQ(monitor.messages(is_goodbye)[0].at("exit").at("code").as_int64(), 0);
  EXPECT_EQ(monitor.hash("agent:a1").count("stoppedAt"), 1U);
}

TEST(RunnerAndMonitor, ACrashIsReportedAtOnceWithTheLastLines) {
  FakeMonitor monitor;
  TestProcess runner(under(monitor, "for i in $(seq 3000); do echo line $i; done; echo last words >&2; exit 3", "no"));
  EXPECT_EQ(runner.wait(), 3);
  ASSERT_TRUE(monitor.wait_for(1, is_exit));
  const json::object message = monitor.messages(is_exit)[0];
  const json::object& exit = message.at("exit").as_object();
  EXPECT_EQ(exit.at("code").as_int64(), 3);
  EXPECT_EQ(exit.at("signal").as_int64(), 0);
  EXPECT_FALSE(exit.at("restarted").as_bool());
  const std::string output = text(exit, "output");
  EXPECT_LE(output.size(), 8192U);
  EXPECT_GT(output.size(), 8000U);
  EXPECT_THAT(output, HasSubstr("line 3000\n"));
  EXPECT_THAT(output, HasSubstr("last words\n"));
  EXPECT_TRUE(monitor.messages(is_goodbye).empty());
}

TEST(RunnerAndMonitor, AGrantRestartsInMillisecondsAndIsSpent) {
  FakeMonitor monitor;
  TestProcess runner(under(monitor, "exec sleep 1000"));
  ASSERT_TRUE(monitor.wait_for(1, is_beat));
  monitor.send_command("a1", grant(1, 3));
  monitor.send_command("a1", grant(1, 100));  // The same once more changes nothing.
  ASSERT_TRUE(monitor.wait_for(3, is_beat));
  for (std::size_t life = 1; life <= 4; ++life) {
    const json::object before = monitor.messages(is_beat).back();
    kill(static_cast<pid_t>(before.at("pid").as_int64()), SIGKILL);
    ASSERT_TRUE(monitor.wait_for(life, is_exit));
    const json::object exit = monitor.messages(is_exit)[life - 1];
    EXPECT_EQ(text(exit, "instanceId"), text(before, "instanceId"));
    EXPECT_GT(exit.at("sequence").as_int64(), before.at("sequence").as_int64());
    EXPECT_EQ(exit.at("exit").at("signal").as_int64(), SIGKILL);
    EXPECT_EQ(exit.at("exit").at("spent").as_int64(), static_cast<std::int64_t>(std::min<std::size_t>(life, 3)));
    EXPECT_EQ(exit.at("exit").at("restarted").as_bool(), life <= 3);
    if (life > 3) break;
    const auto is_successor = [&](const json::object& message) {
      return is_beat(message) && message.at("startedAt").as_int64() > before.at("startedAt").as_int64();
    };
    ASSERT_TRUE(monitor.wait_for(1, is_successor));
    // Milliseconds on an idle machine; a busy one gets half a second.
    EXPECT_LT(monitor.messages(is_successor)[0].at("startedAt").as_int64() - exit.at("timestamp").as_int64(), 500);
  }
  // The fourth crash is beyond the grant: the monitor decides.
  const json::object last = monitor.messages(is_exit)[3];
  monitor.send_command("a1", command(2, "restart", text(last, "instanceId")));
  EXPECT_TRUE(monitor.wait_for(1, [&](const json::object& message) {
    return is_beat(message) && message.at("startedAt").as_int64() > last.at("startedAt").as_int64();
  }));
  runner.send_signal(SIGTERM);
  EXPECT_EQ(runner.wait(), 128 + SIGTERM);
}

TEST(RunnerAndMonitor, ARestartCommandRevivesAFrozenProgram) {
  FakeMonitor monitor;
  TestProcess runner(under(monitor, "echo pid=$$; exec sleep 1000"));
  ASSERT_TRUE(monitor.wait_for(2, is_beat));
  const json::object before = monitor.messages(is_beat).back();
  const pid_t pid = static_cast<pid_t>(before.at("pid").as_int64());
  kill(pid, SIGSTOP);
  ASSERT_TRUE(eventually([&] { return read_process(pid)->state == 'T'; }));
  // A beat that was made before may still be on its way; then nothing is heard of it for three intervals.
  const auto settle = [start = std::chrono::steady_clock::now()](int ms) {
    return [=] { return std::chrono::steady_clock::now() - start > std::chrono::milliseconds(ms); };
  };
  ASSERT_TRUE(eventually(settle(100)));
  const std::size_t heard = monitor.messages(is_beat).size();
  ASSERT_TRUE(eventually(settle(700)));
  EXPECT_EQ(monitor.messages(is_beat).size(), heard);
  monitor.send_command("a1", command(1, "restart", "someone-else"));
  monitor.send_command("a1", command(2, "restart", text(before, "instanceId")));
  ASSERT_TRUE(monitor.wait_for(1, [&](const json::object& message) {
    return is_beat(message) && text(message, "instanceId") != text(before, "instanceId");
  }));
  EXPECT_FALSE(is_alive(pid));
  EXPECT_TRUE(monitor.messages(is_exit).empty());
}

TEST(RunnerAndMonitor, ContinuedAfterAPauseItBeatsAgain) {
  FakeMonitor monitor;
  TestProcess runner(under(monitor, "exec sleep 1000"));
  ASSERT_TRUE(monitor.wait_for(1, is_beat));
  const pid_t pid = static_cast<pid_t>(monitor.messages(is_beat)[0].at("pid").as_int64());
  kill(pid, SIGSTOP);
  ASSERT_TRUE(eventually([&] { return read_process(pid)->state == 'T'; }));
  kill(pid, SIGCONT);
  const std::size_t heard = monitor.messages(is_beat).size();
  EXPECT_TRUE(monitor.wait_for(heard + 2, is_beat));
}

TEST(RunnerAndMonitor, StopEndsWithAGoodbyeAndFenceWithout) {
  FakeMonitor monitor;
  TestProcess stopped(under(monitor, kForever, "always"));
  ASSERT_TRUE(monitor.wait_for(1, is_beat));
  monitor.send_command("a1", command(1, "stop"));
  EXPECT_EQ(stopped.wait(), 128 + SIGTERM);
  EXPECT_TRUE(monitor.wait_for(1, is_goodbye));

  FakeMonitor other;
  TestProcess fenced(under(other, kForever, "always"));
  ASSERT_TRUE(other.wait_for(1, is_beat));
  other.send_command("a1", command(1, "fence"));
  EXPECT_EQ(fenced.wait(), 128 + SIGTERM);
  EXPECT_THAT(fenced.err(), HasSubstr("fenced this agent: because of the test"));
  EXPECT_TRUE(other.messages(is_goodbye).empty());
  EXPECT_TRUE(other.messages(is_exit).empty());
}

TEST(RunnerAndMonitor, AFencedBeatEndsTheProgram) {
  FakeMonitor monitor;
  monitor.answer_publish("-FENCED a1 was replaced");
  TestProcess runner(under(monitor, kForever, "always"));
  EXPECT_EQ(runner.wait(), 128 + SIGTERM);
  EXPECT_THAT(runner.err(), HasSubstr("a1 was replaced"));
}

TEST(RunnerAndMonitor, AMonitorThatVanishesChangesNothingAndIsFoundAgain) {
  FakeMonitor monitor;
  TestProcess runner(under(monitor, kForever));
  ASSERT_TRUE(monitor.wait_for(2, is_beat));
  const json::object before = monitor.messages(is_beat).back();
  monitor.vanish();
  monitor.come_back();
  ASSERT_TRUE(monitor.wait_for(1, [&](const json::object& message) {
    return is_beat(message) && message.at("sequence").as_int64() > before.at("sequence").as_int64();
  }));
  EXPECT_EQ(text(monitor.messages(is_beat).back(), "instanceId"), text(before, "instanceId"));
  EXPECT_TRUE(monitor.messages(is_exit).empty());
}

TEST(RunnerAndMonitor, ACrashWhileTheMonitorIsAwayIsToldOnItsReturn) {
  FakeMonitor monitor;
  TestProcess runner(under(monitor, "exec sleep 1000"));
  ASSERT_TRUE(monitor.wait_for(1, is_beat));
  monitor.send_command("a1", grant(1, 1));
  ASSERT_TRUE(monitor.wait_for(3, is_beat));
  const json::object before = monitor.messages(is_beat).back();
  monitor.vanish();
  kill(static_cast<pid_t>(before.at("pid").as_int64()), SIGKILL);
  ASSERT_TRUE(eventually([&] { return !is_alive(static_cast<pid_t>(before.at("pid").as_int64())); }));
  monitor.come_back();
  ASSERT_TRUE(monitor.wait_for(1, is_exit));
  const json::object exit = monitor.messages(is_exit)[0];
  EXPECT_EQ(text(exit, "instanceId"), text(before, "instanceId"));
  EXPECT_TRUE(exit.at("exit").at("restarted").as_bool());
  EXPECT_TRUE(monitor.wait_for(1, [&](const json::object& message) {
    return is_beat(message) && text(message, "instanceId") != text(before, "instanceId");
  }));
}

TEST(RunnerAndMonitor, WhoWaitsForTheMonitorFallsBackWhenItIsLost) {
  FakeMonitor monitor;
  TestProcess runner(under(monitor, "echo life; exec sleep 1000"));
  ASSERT_TRUE(monitor.wait_for(1, is_beat));
  monitor.send_command("a1", grant(1, 0));
  ASSERT_TRUE(monitor.wait_for(3, is_beat));
  kill(static_cast<pid_t>(monitor.messages(is_beat).back().at("pid").as_int64()), SIGKILL);
  ASSERT_TRUE(monitor.wait_for(1, is_exit));
  ASSERT_TRUE(runner.wait_for_output("life\n"));
  monitor.vanish();
  // After the first back-off, 4 to 6 s.
  EXPECT_TRUE(runner.wait_for_output("life\nlife\n"));
  EXPECT_THAT(runner.err(), HasSubstr("the monitor decides"));
}

TEST(RunnerAndMonitor, LogsInWithTheTokenAndRetriesUntilItIsRight) {
  FakeMonitor monitor;
  monitor.expect_login("default", "hush");
  std::vector<std::string> arguments = under(monitor, kForever);
  arguments.insert(arguments.begin(), {"--token", "hush"});
  TestProcess runner(arguments);
  EXPECT_TRUE(monitor.wait_for(1, is_beat));

  FakeMonitor strict;
  strict.expect_login("default", "other");
  TestProcess refused(under(strict, "sleep 0.5; exit 6", "no"));
  EXPECT_EQ(refused.wait(), 6);
  EXPECT_GE(strict.logins(), 2U);
  EXPECT_TRUE(strict.messages().empty());
}

TEST(RunnerAndMonitor, AConnectionThatAnswersNothingDoesNotHoldTheEndUpForLong) {
  FakeMonitor monitor;
  TestProcess runner(under(monitor, kForever));
  ASSERT_TRUE(monitor.wait_for(1, is_beat));
  monitor.go_silent();
  const auto start = std::chrono::steady_clock::now();
  runner.send_signal(SIGTERM);
  EXPECT_EQ(runner.wait(), 128 + SIGTERM);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

}  // namespace
}  // namespace defib::run
