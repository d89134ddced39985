// What `defib run` is to the program it runs, with nobody at the other end of the line: nothing but a parent.
#include <chrono>
#include <csignal>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <string>
#include <sys/socket.h>
#include <vector>

#include "run/process_tree.h"
#include "run/test_process.h"

namespace defib::run {
namespace {

using testing::HasSubstr;

// A port at which nobody listens: the reserved tcpmux.
const std::vector<std::string> kAlone = {"--url", "redis://127.0.0.1:1", "--restart", "no", "--grace-ms", "300", "--id",
                                         "a1"};

std::vector<std::string> alone(std::vector<std::string> command) {
  std::vector<std::string> arguments = kAlone;
  arguments.push_back("--");
  arguments.insert(arguments.end(), command.begin(), command.end());
  return arguments;
}
std::vector<std::string> alone_shell(const std::string& script) { return alone({"/bin/sh", "-c", script}); }

int exit_code_of(std::vector<std::string> command) { return TestProcess(alone(std::move(command))).wait(); }

// The number after `name=` in the output.
pid_t pid_after(const std::string& text, const std::string& name) {
  return std::stoi(text.substr(text.find(name + "=") + name.size() + 1));
}

TEST(RunProgram, EndsWithTheProgramsCode) {
  EXPECT_EQ(exit_code_of({"true"}), 0);
  EXPECT_EQ(exit_code_of({"/bin/sh", "-c", "exit 3"}), 3);
  EXPECT_EQ(exit_code_of({"/bin/sh", "-c", "kill -9 $$"}), 128 + SIGKILL);
  EXPECT_EQ(exit_code_of({"/no/such/program"}), 127);
  EXPECT_EQ(exit_code_of({"no-such-program-anywhere"}), 127);
  EXPECT_EQ(exit_code_of({"/etc/passwd"}), 126);
  EXPECT_EQ(exit_code_of({"/"}), 126);
}

TEST(RunProgram, LearnsTheCodeWhereChildrenAreIgnoredAndTheProgramInheritsThat) {
  TestProcess failing(alone_shell("exit 3"), {.ignores_children = true});
  EXPECT_EQ(failing.wait(), 3);
  TestProcess runner(alone({"grep", "SigIgn", "/proc/self/status"}), {.ignores_children = true});
  EXPECT_EQ(runner.wait(), 0);
  // What else is ignored is whatever this test was started with. PIPE is not, although the runner ignores it.
  const std::string line = runner.out();
  ASSERT_THAT(line, testing::StartsWith("SigIgn:\t"));
  const std::uint64_t ignored = std::stoull(line.substr(8), nullptr, 16);
  EXPECT_NE(ignored & (std::uint64_t{1} << (SIGCHLD - 1)), 0U) << line;
  EXPECT_EQ(ignored & (std::uint64_t{1} << (SIGPIPE - 1)), 0U) << line;
}

TEST(RunProgram, RefusesWhatItCannotServe) {
  TestProcess url({"--url", "rediss://127.0.0.1:1", "--", "true"});
  EXPECT_EQ(url.wait(), 125);
  EXPECT_THAT(url.err(), HasSubstr("not served yet"));
  TestProcess id({"--id", "-x", "--", "true"});
  EXPECT_EQ(id.wait(), 125);
  TestProcess nothing({"--id", "x", "--"});
  EXPECT_EQ(nothing.wait(), 125);
}

TEST(RunProgram, PassesOutputOnByteForByte) {
  // Ten million bytes with every value among them, on both outputs.
  TestProcess runner(
      alone_shell("head -c 10000000 /dev/zero | tr '\\0' '\\377'; printf 'a\\000b\\n'; printf 'err\\001' >&2"));
  EXPECT_EQ(runner.wait(), 0);
  EXPECT_EQ(runner.out().size(), 10'000'004U);
  EXPECT_EQ(runner.out().substr(9'999'999), std::string("\377a\000b\n", 5));
  EXPECT_EQ(runner.err(), "err\001");
}

TEST(RunProgram, ASlowReaderLosesNothing) {
  TestProcess runner(alone_shell("head -c 3000000 /dev/zero; echo end"));
  EXPECT_TRUE(eventually([start = std::chrono::steady_clock::now()] {
    return std::chrono::steady_clock::now() - start > std::chrono::milliseconds(700);
  }));
  EXPECT_EQ(runner.wait(), 0);
  EXPECT_EQ(runner.out().size(), 3'000'004U);
}

TEST(RunProgram, OutputThatNobodyReadsDoesNotHoldTheProgramUp) {
  TestProcess runner(alone_shell("head -c 10000000 /dev/zero; echo done >&2; exit 4"), {.reads_output = false});
  EXPECT_EQ(runner.wait(), 4);
  EXPECT_THAT(runner.err(), HasSubstr("done\n"));
  EXPECT_THAT(runner.err(), HasSubstr("bytes of output were dropped"));
}

TEST(RunProgram, AClosedOutputDoesNotEndTheProgram) {
  TestProcess runner(alone_shell("sleep 0.1; echo lost; echo lost; echo done >&2; exit 5"), {.is_output_closed = true});
  EXPECT_EQ(runner.wait(), 5);
  EXPECT_THAT(runner.err(), HasSubstr("done\n"));
}

TEST(RunProgram, GivesTheProgramItsNames) {
  TestProcess runner(alone_shell("echo $DEFIB_AGENT_ID $AGENT_ID $DEFIB_INSTANCE $DEFIB_URL $REDIS_URL $DEFIB_TASK"),
                     {.environment = {{"DEFIB_INSTANCE", "feed000000000001"},
                                      {"DEFIB_AGENT_ID", "a1"},
                                      {"DEFIB_TASK", "sum"},
                                      {"REDIS_URL", "redis://its-own"}}});
  EXPECT_EQ(runner.wait(), 0);
  EXPECT_EQ(runner.out(), "a1 a1 feed000000000001 redis://127.0.0.1:1 redis://its-own sum\n");
  // An instance that was meant for another agent is not taken over.
  TestProcess nested(alone_shell("echo $DEFIB_INSTANCE $REDIS_URL"),
                     {.environment = {{"DEFIB_INSTANCE", "feed000000000001"}, {"DEFIB_AGENT_ID", "outer"}}});
  EXPECT_EQ(nested.wait(), 0);
  EXPECT_THAT(nested.out(), testing::MatchesRegex("[0-9a-f]{16} redis://127.0.0.1:1\n"));
  EXPECT_THAT(nested.out(), testing::Not(HasSubstr("feed")));
}

TEST(RunProgram, PassesSignalsOn) {
  TestProcess runner(
      alone_shell("for s in HUP QUIT USR1 USR2 WINCH; do trap \"echo got $s\" $s; done; echo ready; "
                  "while :; do sleep 0.02; done"));
  ASSERT_TRUE(runner.wait_for_output("ready\n"));
  const std::vector<std::pair<int, std::string>> signals = {
      {SIGHUP, "HUP"}, {SIGQUIT, "QUIT"}, {SIGUSR1, "USR1"}, {SIGUSR2, "USR2"}, {SIGWINCH, "WINCH"}};
  for (const auto& [signal, name] : signals) {
    runner.send_signal(signal);
    EXPECT_TRUE(runner.wait_for_output("got " + name + "\n")) << name;
  }
  runner.send_signal(SIGTERM);
  EXPECT_EQ(runner.wait(), 128 + SIGTERM);
}

TEST(RunProgram, StopsAndContinuesTheProgram) {
  TestProcess runner(alone_shell("echo pid=$$; exec sleep 1000"));
  ASSERT_TRUE(runner.wait_for_output("\n"));
  const pid_t pid = pid_after(runner.out(), "pid");
  runner.send_signal(SIGTSTP);
  EXPECT_TRUE(eventually([&] { return read_process(pid)->state == 'T'; }));
  runner.send_signal(SIGCONT);
  EXPECT_TRUE(eventually([&] { return read_process(pid)->state != 'T'; }));
}

TEST(RunProgram, AnEndThatWasAskedForBySignalIsNoCrash) {
  std::vector<std::string> arguments = alone_shell("echo ready; sleep 100");
  arguments[3] = "always";
  TestProcess runner(arguments);
  ASSERT_TRUE(runner.wait_for_output("ready\n"));
  runner.send_signal(SIGHUP);
  EXPECT_EQ(runner.wait(), 128 + SIGHUP);
}

TEST(RunProgram, TheProgramMayTakeItsTimeToStopAndChooseItsCode) {
  TestProcess runner(alone_shell("trap 'sleep 0.1; echo bye; exit 7' TERM; echo ready; while :; do sleep 0.02; done"));
  ASSERT_TRUE(runner.wait_for_output("ready\n"));
  runner.send_signal(SIGTERM);
  EXPECT_EQ(runner.wait(), 7);
  EXPECT_THAT(runner.out(), HasSubstr("bye\n"));
}

TEST(RunProgram, WhatIgnoresTermIsKilledAfterTheGrace) {
  TestProcess runner(alone_shell("trap '' TERM; sleep 100 & echo child=$!; echo ready; while :; do sleep 100; done"));
  ASSERT_TRUE(runner.wait_for_output("ready\n"));
  const pid_t child = pid_after(runner.out(), "child");
  runner.send_signal(SIGTERM);
  EXPECT_EQ(runner.wait(), 128 + SIGKILL);
  EXPECT_FALSE(is_alive(child));
}

TEST(RunProgram, ASecondTermKillsAtOnce) {
  std::vector<std::string> arguments = alone_shell("trap '' TERM; echo ready; while :; do sleep 100; done");
  arguments[5] = "600000";
  TestProcess runner(arguments);
  ASSERT_TRUE(runner.wait_for_output("ready\n"));
  runner.send_signal(SIGTERM);
  // Two that are pending together would be one.
  EXPECT_TRUE(eventually([&, start = std::chrono::steady_clock::now()] {
    return std::chrono::steady_clock::now() - start > std::chrono::milliseconds(100);
  }));
  runner.send_signal(SIGTERM);
  EXPECT_EQ(runner.wait(), 128 + SIGKILL);
}

// Children in the program's group, in a group of their own, in a session of their own, and an orphan of one.
const std::string kFamily =
    "sleep 1000 & echo a=$!; setsid sleep 1001 & echo b=$!; (setsid sh -c 'sleep 1002 & echo c=$!; exec sleep 1003' "
    "&); "
    "echo d=$$; sleep 0.2; echo ready; ";

TEST(RunProgram, LeavesNoOrphanWhenItIsKilled) {
  TestProcess runner(alone_shell(kFamily + "trap '' TERM HUP INT; while :; do sleep 1; done"));
  ASSERT_TRUE(runner.wait_for_output("ready\n"));
  runner.send_signal(SIGKILL);
  for (const char* name : {"a", "b", "c", "d"}) {
    const pid_t pid = pid_after(runner.out(), name);
    EXPECT_TRUE(eventually([&] { return !is_alive(pid); })) << name;
  }
}

TEST(RunProgram, LeavesNoOrphanWhenTheProgramCrashes) {
  TestProcess runner(alone_shell(kFamily + "kill -9 $$"));
  EXPECT_EQ(runner.wait(), 128 + SIGKILL);
  for (const char* name : {"a", "b", "c", "d"}) EXPECT_FALSE(is_alive(pid_after(runner.out(), name))) << name;
}

TEST(RunProgram, LeavesNoOrphanWhenItsKeeperIsKilled) {
  TestProcess runner(alone_shell(kFamily + "while :; do sleep 1; done"));
  ASSERT_TRUE(runner.wait_for_output("ready\n"));
  const pid_t program = pid_after(runner.out(), "d");
  kill(read_process(program)->parent, SIGKILL);
  EXPECT_EQ(runner.wait(), 128 + SIGKILL);
  for (const char* name : {"a", "b", "c", "d"}) EXPECT_FALSE(is_alive(pid_after(runner.out(), name))) << name;
}

TEST(RunProgram, WithoutAMonitorItRestartsByItselfAfterTheBackOff) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::string> arguments = alone_shell("echo life; exit 1");
  arguments[3] = "on-failure";
  TestProcess runner(arguments);
  ASSERT_TRUE(runner.wait_for_output("life\nlife\n"));
  const auto took = std::chrono::steady_clock::now() - start;
  EXPECT_GE(took, std::chrono::seconds(4));
  EXPECT_LE(took, std::chrono::seconds(8));
  runner.send_signal(SIGTERM);
  // By its own end, or by our signal where that was quicker.
  EXPECT_THAT(runner.wait(), testing::AnyOf(1, 128 + SIGTERM));
  EXPECT_THAT(runner.err(), HasSubstr("ended with exit code 1; it is started again in"));
}

}  // namespace
}  // namespace defib::run
