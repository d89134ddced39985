#include "run/keeper.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/check.h"
#include "run/process_tree.h"

namespace defib::run {
namespace {

struct Request {
  enum class Kind : std::uint8_t { start, signal_program, signal_tree };
  Kind kind = Kind::start;
  std::int32_t signal = 0;
  std::array<char, Keeper::kInstanceBytesMax + 1> instance{};
};

// How often a kill is repeated while descendants are left: they may fork while they are being killed.
constexpr int kKillRepeatMs = 5;

// One kill(2) to each process of the tree. `leader` leads the program's own group, 0 where it has none.
void send_to_tree(pid_t keeper, pid_t leader, int signal) {
  if (leader > 0) kill(-leader, signal);
  for (const ProcessFacts& process : scan_descendants(keeper)) {
    if (process.state != 'Z' && (leader == 0 || process.group != leader)) kill(process.pid, signal);
  }
}

// ---- The keeper's side: runs in the forked process and never returns ---------------------------------

class KeeperLoop {
 public:
  KeeperLoop(const KeeperOptions& options, int socket, pid_t runner_group)
      : options_(options), socket_(socket), runner_group_(runner_group) {
    for (const std::string& argument : options_.command) arguments_.push_back(const_cast<char*>(argument.c_str()));
    arguments_.push_back(nullptr);
  }

  [[noreturn]] void run() {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    const int children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (children < 0) _exit(125);
    for (;;) {
      std::array<pollfd, 2> fds = {{{socket_, POLLIN, 0}, {children, POLLIN, 0}}};
      poll(fds.data(), fds.size(), is_killing_ ? kKillRepeatMs : -1);
      signalfd_siginfo info;
      while (read(children, &info, sizeof info) > 0) {
      }
      reap();
      if (is_killing_ && has_children()) send_to_tree(getpid(), 0, SIGKILL);
      if (fds[0].revents != 0) take_request();
    }
  }

 private:
  void report(KeeperEvent::Kind kind, std::int32_t value = 0) {
    const KeeperEvent event{kind, value};
    if (send(socket_, &event, sizeof event, MSG_NOSIGNAL) < 0) kill_all_and_end();
  }

  static bool has_children() {
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
  }

  void reap() {
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG | WCONTINUED)) > 0) {
      if (pid != program_) continue;
      if (WIFCONTINUED(status)) {
        report(KeeperEvent::Kind::continued);
        continue;
      }
      program_ = 0;
      is_tree_due_ = true;
      report(KeeperEvent::Kind::exited, status);
    }
    if (pid < 0 && errno == ECHILD && is_tree_due_) {
      is_tree_due_ = false;
      is_killing_ = false;
      report(KeeperEvent::Kind::tree_gone);
    }
  }

  void take_request() {
    Request request;
    const ssize_t got = recv(socket_, &request, sizeof request, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got != static_cast<ssize_t>(sizeof request)) kill_all_and_end();
    switch (request.kind) {
      case Request::Kind::start:
        start_program(request.instance.data());
        break;
      case Request::Kind::signal_program:
        if (program_ > 0) kill(program_, request.signal);
        break;
      case Request::Kind::signal_tree:
        if (!has_children()) break;
        send_to_tree(getpid(), options_.shares_group ? 0 : program_, request.signal);
        if (request.signal == SIGKILL) is_killing_ = true;
        break;
    }
  }

  void start_program(const char* instance) {
    DEFIB_CHECK(program_ == 0);
    setenv("DEFIB_INSTANCE", instance, 1);
    std::array<int, 2> failure{};
    if (pipe2(failure.data(), O_CLOEXEC) != 0) return report(KeeperEvent::Kind::start_failed, errno);
    const pid_t keeper = getpid();
    const pid_t pid = fork();
    if (pid == 0) become_program(keeper, failure[1]);
    const int fork_error = errno;
    close(failure[1]);
    // The write end closes by exec, which says that it went well; else it brings the error.
    int error = pid < 0 ? fork_error : 0;
    if (pid > 0 && read(failure[0], &error, sizeof error) != static_cast<ssize_t>(sizeof error)) error = 0;
    close(failure[0]);
    if (error != 0) {
      if (pid > 0) waitpid(pid, nullptr, 0);
      return report(KeeperEvent::Kind::start_failed, error);
    }
    program_ = pid;
    report(KeeperEvent::Kind::started, pid);
  }

  [[noreturn]] void become_program(pid_t keeper, int failure) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != keeper) _exit(125);
    setpgid(0, options_.shares_group ? runner_group_ : 0);
    if (options_.stdout_fd >= 0) dup2(options_.stdout_fd, STDOUT_FILENO);
    if (options_.stderr_fd >= 0) dup2(options_.stderr_fd, STDERR_FILENO);
    for (const int number : {SIGPIPE, SIGCHLD}) {
      signal(number, sigismember(&options_.ignored, number) == 1 ? SIG_IGN : SIG_DFL);
    }
    sigprocmask(SIG_SETMASK, &options_.blocked, nullptr);
    execvp(arguments_[0], arguments_.data());
    const int error = errno;
    [[maybe_unused]] const ssize_t written = write(failure, &error, sizeof error);
    _exit(error == ENOENT ? 127 : 126);
  }

  [[noreturn]] void kill_all_and_end() {
    // Ends with the last descendant. One in an uninterruptible wait keeps us here, which is right: it is not gone.
    while (has_children()) {
      send_to_tree(getpid(), options_.shares_group ? 0 : program_, SIGKILL);
      pid_t pid = 0;
      while ((pid = waitpid(-1, nullptr, WNOHANG)) > 0) {
        if (pid == program_) program_ = 0;
      }
      if (pid == 0) poll(nullptr, 0, kKillRepeatMs);
    }
    _exit(0);
  }

  const KeeperOptions& options_;
  const int socket_;
  const pid_t runner_group_;
  std::vector<char*> arguments_;
  pid_t program_ = 0;
  bool is_tree_due_ = false;  // The program has exited and `tree_gone` is not yet told.
  bool is_killing_ = false;
};

// A later keeper must hold none of the runner's own descriptors (all of them close on exec) but what it needs;
// those that the program inherits from whoever started us stay open.
void close_own_descriptors(const std::vector<int>& kept) {
  DIR* dir = opendir("/proc/self/fd");
  if (dir == nullptr) return;
  std::vector<int> closing;
  while (const dirent* entry = readdir(dir)) {
    const int fd = std::atoi(entry->d_name);
    if (fd <= STDERR_FILENO || fd == dirfd(dir)) continue;
    bool is_kept = false;
    for (const int keep : kept) is_kept = is_kept || keep == fd;
    const int flags = fcntl(fd, F_GETFD);
    if (!is_kept && flags >= 0 && (flags & FD_CLOEXEC) != 0) closing.push_back(fd);
  }
  closedir(dir);
  for (const int fd : closing) close(fd);
}

}  // namespace

// ---- The runner's side ---------------------------------------------------------------------------------

Done Keeper::start(const KeeperOptions& options) {
  DEFIB_CHECK(!options.command.empty() && pid_ == 0);
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return Error{fmt::format("cannot make a socket: {}", std::strerror(errno))};
  }
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const pid_t pid = fork();
  if (pid < 0) return Error{fmt::format("cannot make a process: {}", std::strerror(errno))};
  if (pid == 0) {
    prctl(PR_SET_NAME, "defib-keeper");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    const pid_t runner_group = getpgrp();
    setpgid(0, 0);
    ours.reset();
    close_own_descriptors({theirs.get(), options.stdout_fd, options.stderr_fd});
    KeeperLoop(options, theirs.get(), runner_group).run();
  }
  pid_ = pid;
  socket_ = std::move(ours);
  return Unit{};
}

Keeper::~Keeper() {
  socket_.reset();
  if (pid_ > 0) waitpid(pid_, nullptr, 0);
}

void Keeper::start_program(std::string_view instance_id) {
  DEFIB_CHECK(instance_id.size() <= kInstanceBytesMax);
  Request request;
  request.kind = Request::Kind::start;
  instance_id.copy(request.instance.data(), kInstanceBytesMax);
  // A failure shows as `lost` in next().
  send(socket_.get(), &request, sizeof request, MSG_NOSIGNAL);
}

void Keeper::signal_program(int signal) {
  const Request request{.kind = Request::Kind::signal_program, .signal = signal};
  send(socket_.get(), &request, sizeof request, MSG_NOSIGNAL);
}

void Keeper::signal_tree(int signal) {
  const Request request{.kind = Request::Kind::signal_tree, .signal = signal};
  send(socket_.get(), &request, sizeof request, MSG_NOSIGNAL);
}

std::optional<KeeperEvent> Keeper::next() {
  if (!socket_.is_open()) return std::nullopt;
  KeeperEvent event;
  const ssize_t got = recv(socket_.get(), &event, sizeof event, MSG_DONTWAIT);
  if (got == static_cast<ssize_t>(sizeof event)) return event;
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  kill_left_over();
  return KeeperEvent{KeeperEvent::Kind::lost, 0};
}

void Keeper::kill_left_over() {
  socket_.reset();
  kill(pid_, SIGKILL);
  pid_ = 0;
  // All that the keeper had is ours now, or soon will be: its parents die with it.
  for (;;) {
    pid_t pid = 0;
    while ((pid = waitpid(-1, nullptr, WNOHANG)) > 0) {
    }
    if (pid < 0 && errno != EINTR) return;
    send_to_tree(getpid(), 0, SIGKILL);
    poll(nullptr, 0, kKillRepeatMs);
  }
}

}  // namespace defib::run
