#include "net/spawn.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"

extern char** environ;

namespace defib::net {

namespace {

// "NAME=value" for all of ours that are not replaced, then the added ones.
std::vector<std::string> make_environment(const SpawnOptions& options) {
  const auto is_replaced = [&](std::string_view entry) {
    const std::string_view name = entry.substr(0, entry.find('='));
    return std::any_of(options.environment.begin(), options.environment.end(),
                       [&](const auto& added) { return added.first == name; });
  };
  std::vector<std::string> out;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    if (!is_replaced(*entry)) out.emplace_back(*entry);
  }
  for (const auto& [name, value] : options.environment) out.push_back(name + "=" + value);
  return out;
}

// What exec wants: a list of pointers that ends with null. Borrows from `texts`.
std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

std::string explain(const std::string& program, int error) {
  switch (error) {
    case ENOENT:
      // A script whose "#!" line names a missing program fails in the same way.
      if (program.find('/') != std::string::npos && ::access(program.c_str(), F_OK) == 0) {
        return fmt::format("can't start {}: the interpreter in its first line does not exist", program);
      }
      return fmt::format("no such program: {}", program);
    case EACCES:
      return fmt::format("can't start {}: it is not executable for us (chmod +x)", program);
    case ENOEXEC:
      return fmt::format("can't start {}: it is no program, or a script without a \"#!\" line", program);
    default:
      return fmt::format("can't start {}: {}", program, std::strerror(error));
  }
}

// The attributes and file actions of posix_spawn(3), freed at the end. Their setters fail for want of memory only.
class SpawnPlan {
 public:
  SpawnPlan(bool is_new_session, int output) {
    DEFIB_CHECK(posix_spawnattr_init(&attributes_) == 0);
    DEFIB_CHECK(posix_spawn_file_actions_init(&actions_) == 0);
    sigset_t signals;
    sigemptyset(&signals);
    DEFIB_CHECK(posix_spawnattr_setsigmask(&attributes_, &signals) == 0);
    sigfillset(&signals);
    DEFIB_CHECK(posix_spawnattr_setsigdefault(&attributes_, &signals) == 0);
    int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (is_new_session) flags |= POSIX_SPAWN_SETSID;
    DEFIB_CHECK(posix_spawnattr_setflags(&attributes_, static_cast<short>(flags)) == 0);
    DEFIB_CHECK(posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0) == 0);
    if (output >= 0) {
      DEFIB_CHECK(posix_spawn_file_actions_adddup2(&actions_, output, STDOUT_FILENO) == 0);
      DEFIB_CHECK(posix_spawn_file_actions_adddup2(&actions_, output, STDERR_FILENO) == 0);
    }
    // Ours are close-on-exec; those of libraries may not be.
    DEFIB_CHECK(posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1) == 0);
  }
  ~SpawnPlan() {
    posix_spawnattr_destroy(&attributes_);
    posix_spawn_file_actions_destroy(&actions_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  // 0, or why exec or something before it failed.
  int run(pid_t& pid, char* const* arguments, char* const* environment) const {
    return posix_spawnp(&pid, arguments[0], &actions_, &attributes_, arguments, environment);
  }

 private:
  posix_spawnattr_t attributes_{};
  posix_spawn_file_actions_t actions_{};
};

}  // namespace

Result<Spawned> spawn(const SpawnOptions& options) {
  if (options.command.empty() || options.command[0].empty()) return Error{"the command is empty"};
  int ends[2] = {-1, -1};
  if (options.captures_output && ::pipe2(ends, O_CLOEXEC) != 0) {
    return Error{fmt::format("can't start {}: no pipe for its output: {}", options.command[0], std::strerror(errno))};
  }
  std::vector<std::string> arguments = options.command;
  std::vector<std::string> environment = make_environment(options);
  Spawned out{.output = ends[0]};
  int error = SpawnPlan(options.is_new_session, ends[1])
                  .run(out.pid, pointers_to(arguments).data(), pointers_to(environment).data());
  if (ends[1] >= 0) ::close(ends[1]);
  if (error == 0) {
    // By number: the wrapper's header in glibc 2.36 can't be used from C++.
    out.pidfd = static_cast<int>(::syscall(SYS_pidfd_open, out.pid, 0));
    if (out.pidfd < 0) {
      // Out of descriptors. It can't be watched, so it must not run.
      error = errno;
      ::kill(out.pid, SIGKILL);
      ::waitpid(out.pid, nullptr, 0);
    }
  }
  if (error != 0) {
    if (out.output >= 0) ::close(out.output);
    return Error{explain(options.command[0], error)};
  }
  // Ours alone: the two ends of a pipe have flags of their own.
  if (out.output >= 0) ::fcntl(out.output, F_SETFL, O_NONBLOCK);
  return out;
}

}  // namespace defib::net
