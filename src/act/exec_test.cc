#include "act/exec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <optional>
#include <signal.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "net/proc.h"
#include "net/spawn.h"

namespace defib::act {
namespace {

using core::ActionEnd;
using ::testing::HasSubstr;
using ::testing::Not;

core::PerformAction restart(std::vector<std::string> command) {
  core::PerformAction action;
  action.incident = 12;
  action.attempt = 2;
  action.step = {.kind = core::StepKind::restart, .with = "exec", .command = std::move(command)};
  action.agent_id = "coder-1";
  action.agent_type = "coder";
  action.host = "elsewhere";
  action.pid = 4711;
  action.instance_id = "old";
  action.new_instance_id = "new";
  action.current_task = "fix {agentId}; rm -rf $HOME";
  action.task_progress = 42.5;
  action.capsule = std::string("\0\1cap", 5);
  action.reason = "silent for 93 s";
  return action;
}

core::PerformAction shell(const std::string& script) { return restart({"/bin/sh", "-c", script}); }

core::PerformAction replacement(const std::string& host, std::int64_t pid) {
  core::PerformAction action = shell("echo replaced");
  action.step.kind = core::StepKind::replace;
  action.host = host;
  action.pid = pid;
  return action;
}

// Performs one action to its end, within half a minute.
ActionResult perform(const core::PerformAction& action) {
  net::Loop loop;
  net::ProcessRunner runner(loop);
  ExecActor actor(loop, runner, "redis://127.0.0.1:7379");
  std::vector<ActionResult> told;
  actor.perform(action, [&](ActionResult result) { told.push_back(std::move(result)); });
  EXPECT_TRUE(told.empty()) << "told from within perform()";
  const Instant limit = net::read_steady() + 30s;
  loop.run([&]() -> Instant {
    if (!told.empty() || net::read_steady() >= limit) loop.stop();
    return limit;
  });
  EXPECT_EQ(told.size(), 1u);
  return told.empty() ? ActionResult{} : told.front();
}

// A child of ours, as an agent on this host would be.
class Child {
 public:
  Child() : spawned_(net::spawn({.command = {"sleep", "60"}, .captures_output = false}).value()) {}
  ~Child() {
    kill_without_reaping();
    ::waitpid(pid(), nullptr, 0);
    ::close(spawned_.pidfd);
  }
  pid_t pid() const { return spawned_.pid; }
  void kill_without_reaping() {
    ::kill(pid(), SIGKILL);
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(pid()), &info, WEXITED | WNOWAIT);
  }

 private:
  net::Spawned spawned_;
};

TEST(ExecActor, ExitZeroIsDoneAndTheLastLineIsKept) {
  const ActionResult result = perform(shell("echo one; echo 'two\tthree'; echo"));
  EXPECT_EQ(result.end, ActionEnd::done);
  EXPECT_EQ(result.detail, "/bin/sh exited with 0; it said \"two three\"");
}

TEST(ExecActor, AnythingElseIsFailedAndSaysHow) {
  const ActionResult exited = perform(shell("echo broken >&2; exit 7"));
  EXPECT_EQ(exited.end, ActionEnd::failed);
  EXPECT_EQ(exited.detail, "/bin/sh exited with 7; it said \"broken\"");
  const ActionResult killed = perform(shell("kill -9 $$"));
  EXPECT_EQ(killed.end, ActionEnd::failed);
  EXPECT_EQ(killed.detail, "/bin/sh was ended by signal 9");
  core::PerformAction slow = shell("exec sleep 60");
  slow.step.timeout = 100ms;
  const ActionResult late = perform(slow);
  EXPECT_EQ(late.end, ActionEnd::failed);
  EXPECT_EQ(late.detail, "/bin/sh ran longer than 100 ms and was ended");
  const ActionResult none = perform(restart({"/no/such/program"}));
  EXPECT_EQ(none.end, ActionEnd::failed);
  EXPECT_EQ(none.detail, "no such program: /no/such/program");
  EXPECT_EQ(perform(restart({})).end, ActionEnd::failed);
}

TEST(ExecActor, FillsInNamesWithinArgumentsAndNeverSplitsOrRepeats) {
  const ActionResult result =
      perform(restart({"printf", "%s|", "{agentId}/{agentType}@{host}", "{instanceId}>{newInstanceId}",
                       "{incident}.{attempt}", "{task}", "{other}{", "{{agentId}}"}));
  EXPECT_THAT(result.detail, HasSubstr("\"coder-1/coder@elsewhere|old>new|12.2|"));
  EXPECT_THAT(result.detail, HasSubstr("|fix {agentId}; rm -rf $HOME|{other}{|{coder-1}|"));
}

TEST(ExecActor, AnAgentDoesNotChooseTheProgram) {
  core::PerformAction action = restart({"{agentType}", "x"});
  action.agent_type = "/bin/echo";
  const ActionResult result = perform(action);
  EXPECT_EQ(result.end, ActionEnd::failed);
  EXPECT_EQ(result.detail, "no such program: {agentType}");
}

TEST(ExecActor, AByteZeroInAValueCutsNothingOff) {
  core::PerformAction action = restart({"printf", "%s|", "{task}."});
  action.current_task = std::string("a\0b", 3);
  EXPECT_THAT(perform(action).detail, HasSubstr("\"a b.|\""));
}

TEST(ExecActor, HandsTheTaskOverInTheEnvironment) {
  const ActionResult result = perform(shell(
      "echo \"$AGENT_ID|$REDIS_URL|$DEFIB_AGENT_ID|$DEFIB_INSTANCE|$DEFIB_TASK|$DEFIB_TASK_PROGRESS|$DEFIB_CAPSULE|"
      "$DEFIB_INCIDENT|$DEFIB_ATTEMPT|$DEFIB_REASON\""));
  EXPECT_THAT(result.detail, HasSubstr("\"coder-1|redis://127.0.0.1:7379|coder-1|new|fix {agentId}; rm -rf $HOME|42.5|"
                                       "AAFjYXA=|12|2|silent for 93 s\""));
}

TEST(ExecActor, EncodesCapsulesOfEveryLength) {
  const std::pair<const char*, const char*> cases[] = {{"", ""},        {"f", "Zg=="},        {"fo", "Zm8="},
                                                       {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"\xff\xfe\xfd", "//79"}};
  for (const auto& [bytes, text] : cases) {
    core::PerformAction action = shell("echo \"<$DEFIB_CAPSULE>\"");
    action.capsule = bytes;
    EXPECT_THAT(perform(action).detail, HasSubstr("<" + std::string(text) + ">"));
  }
  // The largest one still fits into one variable (128 KiB is the kernel's bound).
  core::PerformAction action = shell("echo ${#DEFIB_CAPSULE}");
  action.capsule = std::string(core::kCapsuleBytesMax, 'c');
  EXPECT_THAT(perform(action).detail, HasSubstr("\"21848\""));
}

TEST(ExecActor, AReplacementWaitsForProof) {
  const std::string here = net::read_host_name();
  Child alive;
  struct Case {
    core::PerformAction action;
    const char* why;
  };
  const std::vector<Case> refused = {
      {replacement("", 0), "it has not told its host and pid"},
      {replacement(here, 0), "it has not told its host and pid"},
      {replacement("", 4711), "it has not told its host and pid"},
      {replacement("elsewhere", 4711), "it was pid 4711 on host elsewhere, which can't be seen from"},
      {replacement(here, alive.pid()), "still runs on this host"},
  };
  for (const Case& one : refused) {
    const ActionResult result = perform(one.action);
    EXPECT_EQ(result.end, ActionEnd::refused) << result.detail;
    EXPECT_THAT(result.detail, HasSubstr(one.why));
    EXPECT_THAT(result.detail, HasSubstr("`allow_two: true`"));
    EXPECT_THAT(result.detail, Not(HasSubstr("replaced\"")));
  }
}

TEST(ExecActor, AReplacementStartsOnProofOrOnTheOperatorsWord) {
  const std::string here = net::read_host_name();
  Child dead;
  core::PerformAction allowed = replacement(here, dead.pid());
  allowed.step.allow_two = true;
  EXPECT_EQ(perform(allowed).end, ActionEnd::done);
  core::PerformAction proven = replacement("elsewhere", 4711);
  proven.is_proven_stopped = true;
  EXPECT_EQ(perform(proven).end, ActionEnd::done);
  dead.kill_without_reaping();
  EXPECT_EQ(perform(replacement(here, dead.pid())).end, ActionEnd::done) << "a zombie is proof";
  // No pid is as large as this (pid_max is 2^22).
  EXPECT_EQ(perform(replacement(here, 1 << 23)).end, ActionEnd::done);
}

TEST(ExecActor, ARestartKeepsWhatProcSaysOfALiveProcessHere) {
  Child alive;
  core::PerformAction action = shell("echo restarted");
  action.host = net::read_host_name();
  action.pid = alive.pid();
  const ActionResult result = perform(action);
  EXPECT_EQ(result.end, ActionEnd::done);
  EXPECT_THAT(result.detail, HasSubstr("; before it, pid " + std::to_string(alive.pid()) + ": state "));
  action.host = "elsewhere";
  EXPECT_THAT(perform(action).detail, Not(HasSubstr("before it")));
}

}  // namespace
}  // namespace defib::act
