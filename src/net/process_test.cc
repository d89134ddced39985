#include "net/process.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <optional>
#include <signal.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include <boost/asio/steady_timer.hpp>

namespace defib::net {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

// Runs the loop until `is_done` or for half a minute.
void run_until(Loop& loop, const std::function<bool()>& is_done) {
  const Instant limit = read_steady() + 30s;
  loop.run([&]() -> Instant {
    const Instant now = read_steady();
    if (is_done() || now >= limit) loop.stop();
    return limit;
  });
  EXPECT_TRUE(is_done()) << "nothing happened for half a minute";
}

SpawnOptions shell(const std::string& script) { return {.command = {"/bin/sh", "-c", script}}; }

ProcessEnd run_to_end(const SpawnOptions& options, Duration timeout = 20s, Duration kill_grace = 5s) {
  Loop loop;
  ProcessRunner runner(loop);
  std::optional<ProcessEnd> end;
  const Done started = runner.run(options, timeout, kill_grace, [&](ProcessEnd told) { end = std::move(told); });
  EXPECT_TRUE(started.ok()) << (started.ok() ? "" : started.error());
  EXPECT_FALSE(end.has_value());
  EXPECT_EQ(runner.running(), 1u);
  run_until(loop, [&] { return end.has_value(); });
  EXPECT_EQ(runner.running(), 0u);
  return end.value_or(ProcessEnd{});
}

pid_t first_number(const std::string& text) { return static_cast<pid_t>(std::atoi(text.c_str())); }

bool is_alive(pid_t pid) { return pid > 0 && ::kill(pid, 0) == 0; }

TEST(ProcessRunner, TellsExitCodeAndBothOutputs) {
  const ProcessEnd end = run_to_end(shell("echo out; echo err >&2; exit 3"));
  EXPECT_EQ(end.code, 3);
  EXPECT_EQ(end.signal, 0);
  EXPECT_FALSE(end.is_timed_out);
  EXPECT_EQ(end.output_tail, "out\nerr\n");
}

TEST(ProcessRunner, TellsTheSignal) {
  const ProcessEnd end = run_to_end(shell("kill -SEGV $$"));
  EXPECT_EQ(end.signal, SIGSEGV);
  EXPECT_FALSE(end.is_timed_out);
}

TEST(ProcessRunner, KeepsTheTailOfTheOutput) {
  SpawnOptions options = shell("seq 1 200000; printf last");
  options.tail_bytes_max = 100;
  const ProcessEnd end = run_to_end(options);
  EXPECT_EQ(end.output_tail.size(), 100u);
  EXPECT_THAT(end.output_tail, EndsWith("\n200000\nlast"));
}

TEST(ProcessRunner, PassesArgumentsAsTheyAreAndLooksInPath) {
  const ProcessEnd end = run_to_end({.command = {"printf", "%s|", "a b", "$HOME", "; rm", "\"", ""}});
  EXPECT_EQ(end.output_tail, "a b|$HOME|; rm|\"||");
}

TEST(ProcessRunner, AddsToAndReplacesTheEnvironment) {
  ::setenv("DEFIB_TEST_KEPT", "kept", 1);
  ::setenv("DEFIB_TEST_REPLACED", "old", 1);
  SpawnOptions options =
      shell("echo $DEFIB_TEST_KEPT $DEFIB_TEST_REPLACED $DEFIB_TEST_ADDED; env | grep -c DEFIB_TEST_REPLACED");
  options.environment = {{"DEFIB_TEST_REPLACED", "new"}, {"DEFIB_TEST_ADDED", "a=b"}};
  EXPECT_EQ(run_to_end(options).output_tail, "kept new a=b\n1\n");
}

TEST(ProcessRunner, AChildHasACleanStart) {
  // What must not be inherited: a blocked signal, an ignored one, an open file, our session.
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
  auto* const handler = ::signal(SIGPIPE, SIG_IGN);
  const int leaky = ::dup(STDERR_FILENO);
  // No pipe in the listing: the shell may hold an end of it while ls looks.
  const ProcessEnd end =
      run_to_end(shell("grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/$$/fd; readlink /proc/$$/fd/0; "
                       "test $(cut -d' ' -f6 /proc/$$/stat) = $$ && echo leader"));
  ::close(leaky);
  ::signal(SIGPIPE, handler);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_THAT(end.output_tail, HasSubstr("SigBlk:\t0000000000000000\n"));
  // Without 32 and 33, which belong to the C library and can't be set.
  const std::size_t ignored = end.output_tail.find("SigIgn:\t");
  ASSERT_NE(ignored, std::string::npos);
  EXPECT_EQ(std::stoull(end.output_tail.substr(ignored + 8, 16), nullptr, 16) & 0x7fff'ffffu, 0u);
  EXPECT_THAT(end.output_tail, HasSubstr("\n0\n1\n2\n/dev/null\nleader\n"));
}

TEST(ProcessRunner, SaysAtOnceWhyAProgramDoesNotStart) {
  char directory[] = "/tmp/defib-process-XXXXXX";
  ASSERT_NE(::mkdtemp(directory), nullptr);
  const std::string base = directory;
  const auto make = [&](const std::string& name, const std::string& text, mode_t mode) {
    std::ofstream(base + name) << text;
    ::chmod((base + name).c_str(), mode);
    return base + name;
  };
  struct Case {
    std::string program;
    const char* why;
  };
  const Case cases[] = {
      {"no-such-program-of-defib", "no such program: no-such-program-of-defib"},
      {base + "/none", "no such program: "},
      {base, "not executable"},
      {make("/plain", "text", 0644), "not executable"},
      {make("/no-interpreter", "#!/no/such/interpreter\n", 0755), "interpreter"},
      {make("/no-first-line", "echo hi\n", 0755), "\"#!\" line"},
      {"", "the command is empty"},
  };
  Loop loop;
  ProcessRunner runner(loop);
  for (const Case& one : cases) {
    const Done started = runner.run({.command = {one.program}}, 1s, 1s, [](const ProcessEnd&) { ADD_FAILURE(); });
    ASSERT_FALSE(started.ok()) << one.program;
    EXPECT_THAT(started.error(), HasSubstr(one.why));
  }
  EXPECT_FALSE(runner.run({}, 1s, 1s, [](const ProcessEnd&) { ADD_FAILURE(); }).ok());
  EXPECT_EQ(runner.running(), 0u);
  for (const char* name : {"/plain", "/no-interpreter", "/no-first-line"}) ::unlink((base + name).c_str());
  ::rmdir(directory);
}

// The agent that a script starts keeps the script's output open: the script ends by its exit all the same, and the
// agent lives on, even when it writes.
TEST(ProcessRunner, EndsByExitWhileABackgroundChildHoldsTheOutput) {
  Loop loop;
  ProcessRunner runner(loop);
  std::optional<ProcessEnd> end;
  const Instant begin = read_steady();
  ASSERT_TRUE(runner
                  .run(shell("(while echo tick; do sleep 0.02; done; echo dead > /dev/null) & echo $!"), 20s, 1s,
                       [&](ProcessEnd told) { end = std::move(told); })
                  .ok());
  run_until(loop, [&] { return end.has_value(); });
  EXPECT_LT(read_steady() - begin, 10s);
  EXPECT_EQ(end->code, 0);
  const std::size_t at = end->output_tail.find_first_of("0123456789");
  ASSERT_NE(at, std::string::npos) << end->output_tail;
  const pid_t agent = first_number(end->output_tail.substr(at));
  // It goes on writing for a while after the script's end.
  const Instant later = read_steady() + 200ms;
  loop.run([&]() -> Instant {
    if (read_steady() >= later) loop.stop();
    return later;
  });
  EXPECT_TRUE(is_alive(agent));
  ::kill(agent, SIGKILL);
}

TEST(ProcessRunner, PastItsTimeAScriptGetsTermAndItsChildLives) {
  const Instant begin = read_steady();
  const ProcessEnd end =
      run_to_end(shell("sleep 60 & echo $!; trap 'echo told; exit 9' TERM; while :; do sleep 0.05; done"), 300ms, 20s);
  EXPECT_TRUE(end.is_timed_out);
  EXPECT_EQ(end.code, 9);
  EXPECT_THAT(end.output_tail, EndsWith("told\n"));
  EXPECT_GE(read_steady() - begin, 300ms);
  EXPECT_LT(read_steady() - begin, 15s);
  const pid_t child = first_number(end.output_tail);
  EXPECT_TRUE(is_alive(child));
  ::kill(child, SIGKILL);
}

TEST(ProcessRunner, AScriptThatIgnoresTermIsKilled) {
  const ProcessEnd end = run_to_end(shell("trap '' TERM; echo deaf; while :; do sleep 0.05; done"), 200ms, 200ms);
  EXPECT_TRUE(end.is_timed_out);
  EXPECT_EQ(end.signal, SIGKILL);
  EXPECT_EQ(end.output_tail, "deaf\n");
}

TEST(ProcessRunner, GoesWhileScriptsRunAndLeavesThemAlone) {
  Loop loop;
  std::string file = "/tmp/defib-process-pid-XXXXXX";
  const int fd = ::mkstemp(file.data());
  ASSERT_GE(fd, 0);
  {
    ProcessRunner runner(loop);
    ASSERT_TRUE(
        runner.run(shell("echo $$ > " + file + "; exec sleep 60"), 60s, 1s, [](const ProcessEnd&) { ADD_FAILURE(); })
            .ok());
    char text[32] = {};
    run_until(loop, [&] {
      loop.post([] {});
      return ::pread(fd, text, sizeof text - 1, 0) > 1;
    });
  }
  char text[32] = {};
  ASSERT_GT(::pread(fd, text, sizeof text - 1, 0), 0);
  const pid_t pid = first_number(text);
  run_until(loop, [] { return true; });
  EXPECT_TRUE(is_alive(pid));
  ::kill(pid, SIGKILL);
  ::close(fd);
  ::unlink(file.c_str());
}

// Fifty scripts that hang: a timer of 5 ms keeps its pace, and all of them end in the time of one.
TEST(ProcessRunner, FiftyHangingScriptsCostTheLoopNothing) {
  Loop loop;
  ProcessRunner runner(loop);
  constexpr std::size_t kScripts = 50;
  std::size_t ended = 0;
  for (std::size_t i = 0; i < kScripts; ++i) {
    SpawnOptions options{.command = {"sleep", "60"}};
    ASSERT_TRUE(runner
                    .run(options, 1s, 1s,
                         [&](const ProcessEnd& end) {
                           EXPECT_TRUE(end.is_timed_out);
                           EXPECT_EQ(end.signal, SIGTERM);
                           ++ended;
                         })
                    .ok());
  }
  EXPECT_EQ(runner.running(), kScripts);
  std::vector<Duration> lateness;
  const Instant limit = read_steady() + 30s;
  Instant next = read_steady() + 5ms;
  loop.run([&]() -> Instant {
    const Instant now = read_steady();
    if (now >= next) {
      lateness.push_back(now - next);
      next = now + 5ms;
    }
    if (ended == kScripts || now >= limit) loop.stop();
    return next;
  });
  EXPECT_EQ(ended, kScripts);
  ASSERT_GT(lateness.size(), 20u);
  std::sort(lateness.begin(), lateness.end());
  EXPECT_LT(lateness[lateness.size() / 2], 20ms);
}

}  // namespace
}  // namespace defib::net
