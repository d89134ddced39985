// The keeper: a small process between the runner and the program, so that no orphan is left, whoever is killed.
//
//     runner --fork--> keeper --fork, exec--> program --> whatever it starts
//
// The keeper is the parent of the program and the subreaper (prctl(2)) of everything below it, so that even a
// descendant that made a session of its own comes back to it. It lives on one socket to the runner:
//   - the runner dies, even by SIGKILL: the socket closes, the keeper kills all its descendants and ends;
//   - the keeper dies: the program dies with it (PR_SET_PDEATHSIG), the rest falls to the runner, which is a subreaper
//     too, kills it and starts another keeper.
// It is in a process group of its own, so that a signal to the runner's group does not reach it, and in the same
// session, so that the program keeps its terminal. It decides nothing: it starts, signals, waits and reports.
#pragma once

#include <cstdint>
#include <optional>
#include <signal.h>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

#include "base/result.h"
#include "run/unique_fd.h"

namespace defib::run {

struct KeeperOptions {
  std::vector<std::string> command;  // command[0] is looked up in PATH.
  int stdout_fd = -1;                // What the program gets as its output; -1: ours as it is.
  int stderr_fd = -1;
  // The program stays in our process group (a person's terminal: its keys reach it) instead of leading one.
  bool shares_group = false;
  // What the program starts with: the signals that are blocked, and which of PIPE and CHLD are ignored.
  sigset_t blocked{};
  sigset_t ignored{};
};

struct KeeperEvent {
  enum class Kind : std::uint8_t {
    started,       // value: the program's pid
    start_failed,  // value: errno
    exited,        // value: wait status (waitpid(2)); what it started may still live
    continued,     // the program was stopped and goes on
    tree_gone,     // after `exited`: nothing that it started is left
    lost,          // the keeper itself is gone, and all below it
  };
  Kind kind = Kind::lost;
  std::int32_t value = 0;
};

class Keeper {
 public:
  // Longest instance id that start_program() takes.
  static constexpr std::size_t kInstanceBytesMax = 128;

  Keeper() = default;
  ~Keeper();  // Closes the socket, upon which the keeper kills what is left; waits for its end.
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // Forks the keeper. Makes this process a subreaper. Once more after `lost`.
  Done start(const KeeperOptions& options);
  // Starts the program with DEFIB_INSTANCE set. Only while none lives: before, or after `tree_gone`.
  void start_program(std::string_view instance_id);
  void signal_program(int signal);
  // The program's whole group and every descendant outside of it. SIGKILL is repeated until nothing is left.
  void signal_tree(int signal);

  // The next report, or nullopt where there is none now.
  std::optional<KeeperEvent> next();
  int fd() const { return socket_.get(); }
  pid_t pid() const { return pid_; }

 private:
  void kill_left_over();

  UniqueFd socket_;
  pid_t pid_ = 0;
};

}  // namespace defib::run
