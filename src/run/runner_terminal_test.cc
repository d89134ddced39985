// A person runs a program under `defib run` at a terminal: keys, job control and the terminal itself stay theirs.
#include <array>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "base/check.h"
#include "run/test_process.h"

namespace defib::run {
namespace {

const std::string kProbe = std::string(DEFIB_BINARY_DIR) + "/run_probe";

std::vector<std::string> runner_of(const std::string& script) {
  return {kProbe, "--url", "redis://127.0.0.1:1", "--restart", "always", "--grace-ms", "5000", "--", "/bin/sh",
          "-c",   script};
}

// A program on a new terminal, which is its session's; this process is the person.
class Terminal {
 public:
  explicit Terminal(std::vector<std::string> command) {
    std::vector<char*> arguments;
    for (std::string& argument : command) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    person_.reset(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    DEFIB_CHECK(grantpt(person_.get()) == 0 && unlockpt(person_.get()) == 0);
    const std::string name = ptsname(person_.get());
    pid_ = fork();
    if (pid_ == 0) {
      setsid();
      const int terminal = open(name.c_str(), O_RDWR);  // A session leader's first terminal controls it.
      for (int fd = 0; fd <= 2; ++fd) dup2(terminal, fd);
      execv(arguments[0], arguments.data());
      _exit(99);
    }
  }
  ~Terminal() {
    if (pid_ == 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(const std::string& keys) { EXPECT_GT(write(person_.get(), keys.data(), keys.size()), 0); }
  bool shows(const std::string& text) {
    return eventually([&] {
      pollfd ready{person_.get(), POLLIN, 0};
      std::array<char, 4096> buffer;
      if (poll(&ready, 1, 10) == 1) {
        const ssize_t got = read(person_.get(), buffer.data(), buffer.size());
        if (got > 0) screen_.append(buffer.data(), static_cast<std::size_t>(got));
      }
      return screen_.find(text) != std::string::npos;
    });
  }
  int wait() {
    int status = -1;
    if (!eventually([&] { return waitpid(pid_, &status, WNOHANG) == pid_; })) return -1;
    pid_ = 0;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  UniqueFd person_;
  pid_t pid_ = 0;
  std::string screen_;
};

TEST(RunAtATerminal, TheProgramHasTheTerminalItself) {
  Terminal terminal(
      runner_of("test -t 0 && test -t 1 && test -t 2 && echo all three; read word; echo got $word; exec sleep 1000"));
  EXPECT_TRUE(terminal.shows("all three"));
  terminal.type("hello\n");
  EXPECT_TRUE(terminal.shows("got hello"));
}

TEST(RunAtATerminal, CtrlCReachesTheProgramOnceAndIsNoCrash) {
  Terminal terminal(runner_of("echo ready; exec sleep 1000"));
  ASSERT_TRUE(terminal.shows("ready"));
  terminal.type("\x03");
  EXPECT_EQ(terminal.wait(), 128 + SIGINT);
}

TEST(RunAtATerminal, AProgramThatGoesOnAfterCtrlCIsLeftAlone) {
  Terminal terminal(runner_of("trap 'echo interrupted' INT; echo ready; while :; do read word; echo got $word; done"));
  ASSERT_TRUE(terminal.shows("ready"));
  terminal.type("\x03");
  ASSERT_TRUE(terminal.shows("interrupted"));
  terminal.type("still here\n");
  EXPECT_TRUE(terminal.shows("got still here"));
}

TEST(RunAtATerminal, CtrlZStopsTheJobAndItGoesOnInTheForeground) {
  Terminal terminal({"/bin/bash", "--norc", "--noprofile", "-i"});
  // What is typed shows, too: the quotes tell it from what the program prints.
  terminal.type(kProbe + " --url redis://127.0.0.1:1 --restart always -- /bin/sh -c " +
                "'trap \"echo we\"\"nt on\" CONT; echo rea\"\"dy; while :; do sleep 0.05; done'\n");
  ASSERT_TRUE(terminal.shows("ready"));
  terminal.type("\x1a");
  ASSERT_TRUE(terminal.shows("Stopped"));
  terminal.type("fg\n");
  ASSERT_TRUE(terminal.shows("went on"));
  terminal.type("\x03");
  terminal.type("echo code=$?.\n");
  EXPECT_TRUE(terminal.shows("code=130."));
}

}  // namespace
}  // namespace defib::run
