#include "run/test_process.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "run/process_tree.h"

namespace defib::run {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

}  // namespace

TestProcess::TestProcess(std::vector<std::string> arguments, Options options) : reads_output_(options.reads_output) {
  arguments.insert(arguments.begin(), std::string(DEFIB_BINARY_DIR) + "/run_probe");
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  std::array<int, 2> out{};
  std::array<int, 2> err{};
  DEFIB_CHECK(pipe2(out.data(), O_CLOEXEC) == 0 && pipe2(err.data(), O_CLOEXEC) == 0);
  pid_ = fork();
  DEFIB_CHECK(pid_ >= 0);
  if (pid_ == 0) {
    setsid();
    if (options.ignores_children) signal(SIGCHLD, SIG_IGN);
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    for (const char* name : {"DEFIB_INSTANCE", "DEFIB_AGENT_ID", "DEFIB_URL", "DEFIB_TOKEN", "DEFIB_NAMESPACE"})
      unsetenv(name);
    for (const auto& [name, value] : options.environment) setenv(name.c_str(), value.c_str(), 1);
    execv(pointers[0], pointers.data());
    _exit(99);
  }
  close(out[1]);
  close(err[1]);
  out_end_.reset(out[0]);
  err_end_.reset(err[0]);
  if (options.is_output_closed) out_end_.reset();
}

TestProcess::~TestProcess() {
  if (pid_ == 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void TestProcess::send_signal(int signal) const { kill(pid_, signal); }

bool TestProcess::read_some(int wait_ms) {
  std::array<pollfd, 2> fds = {{{reads_output_ ? out_end_.get() : -1, POLLIN, 0}, {err_end_.get(), POLLIN, 0}}};
  poll(fds.data(), fds.size(), wait_ms);
  std::array<char, 64 * 1024> buffer;
  const auto take = [&](const pollfd& ready, UniqueFd& end, std::string& text) {
    if (ready.revents == 0) return;
    const ssize_t got = read(end.get(), buffer.data(), buffer.size());
    if (got > 0) text.append(buffer.data(), static_cast<std::size_t>(got));
    if (got == 0) end.reset();
  };
  take(fds[0], out_end_, out_);
  take(fds[1], err_end_, err_);
  return (reads_output_ && out_end_.is_open()) || err_end_.is_open();
}

bool TestProcess::wait_for_output(const std::string& text) {
  const auto until = Clock::now() + seconds(10);
  while (out_.find(text) == std::string::npos) {
    if (Clock::now() > until || !read_some(100)) return false;
  }
  return true;
}

int TestProcess::wait() {
  const auto until = Clock::now() + seconds(20);
  while (Clock::now() < until) {
    int status = 0;
    const pid_t ended = waitpid(pid_, &status, WNOHANG);
    if (ended == pid_) {
      pid_ = 0;
      while (read_some(0) && Clock::now() < until) {
        // The rest of what it wrote.
      }
      return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    if (!read_some(5)) poll(nullptr, 0, 5);
  }
  return -1;
}

bool eventually(const std::function<bool()>& holds) {
  const auto until = Clock::now() + seconds(10);
  while (!holds()) {
    if (Clock::now() > until) return false;
    poll(nullptr, 0, 5);
  }
  return true;
}

bool is_alive(pid_t pid) {
  const auto process = read_process(pid);
  return process && process->state != 'Z' && process->state != 'X';
}

}  // namespace defib::run
