// Starting, watching and ending programs: argument lists, never a shell; each in a session of its own.
//
// SIGCHLD is not used: each child has a pidfd (pidfd_open(2)) that the loop watches, so libraries in the
// process keep their own children.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "net/loop.h"

namespace defib::net {

struct SpawnOptions {
  std::vector<std::string> command;                              // command[0] is looked up in PATH.
  std::vector<std::pair<std::string, std::string>> environment;  // Added to, or replacing, ours.
  bool captures_output = true;  // Keep the last `tail_bytes_max` of stdout and stderr together.
  std::size_t tail_bytes_max = 8 * 1024;
  bool is_new_session = true;  // setsid(2): a process group of its own.
};

struct ProcessEnd {
  int code = 0;  // Exit status where signal is 0.
  int signal = 0;
  bool is_timed_out = false;  // We ended it because its time was up.
  std::string output_tail;
};

// Runs a script to its end, by exit and not by EOF of its output: a script that leaves the agent
// running in the background ends when the script itself does, and the agent lives on. What such an agent still
// writes into the script's output is read and dropped until the runner goes; then its next write fails
// (SIGPIPE), so a script should give the agent an output of its own.
class ProcessRunner {
 public:
  // Scripts at once; one more is refused.
  static constexpr std::size_t kScriptsMax = 1024;
  // Outputs of ended scripts that are still read for whom they left behind; past it the oldest is closed.
  static constexpr std::size_t kLeftBehindMax = 1024;

  explicit ProcessRunner(Loop& loop);
  ~ProcessRunner();  // Leaves running scripts alone.

  // `done` is called once on the loop thread; never from within run(). Past `timeout` the script's process
  // gets TERM, and KILL after `kill_grace` (the script alone, not what it started: rule of recovery 10).
  // An error (no such program, no more processes) is told at once.
  Done run(const SpawnOptions& options, Duration timeout, Duration kill_grace, std::function<void(ProcessEnd)> done);
  std::size_t running() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace defib::net
