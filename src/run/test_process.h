// A runner (run_probe) as a child of this room's tests, in a session of its own, without a terminal.
#pragma once

#include <functional>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

#include "run/unique_fd.h"

namespace defib::run {

class TestProcess {
 public:
  struct Options {
    std::vector<std::pair<std::string, std::string>> environment;
    bool reads_output = true;       // False: stdout is a pipe that nobody reads.
    bool ignores_children = false;  // SIGCHLD is ignored, as some daemons leave it to what they start.
    bool is_output_closed = false;  // stdout is a pipe whose reader is gone.
  };

  // run_probe with these arguments, "--" and the command included.
  TestProcess(std::vector<std::string> arguments, Options options);
  explicit TestProcess(std::vector<std::string> arguments) : TestProcess(std::move(arguments), Options()) {}
  // Kills it where it still runs.
  ~TestProcess();
  TestProcess(const TestProcess&) = delete;
  TestProcess& operator=(const TestProcess&) = delete;

  pid_t pid() const { return pid_; }
  void send_signal(int signal) const;
  // Reads its output until `text` has come on stdout (10 s at most).
  bool wait_for_output(const std::string& text);
  // Reads all output and waits for the end (20 s at most): its exit code, 128 + signal, or -1 where it does not end.
  int wait();

  const std::string& out() const { return out_; }
  const std::string& err() const { return err_; }

 private:
  // Reads what is there, waiting up to `wait_ms`; false at the end of both outputs.
  bool read_some(int wait_ms);

  pid_t pid_ = 0;
  UniqueFd out_end_;
  UniqueFd err_end_;
  bool reads_output_ = true;
  std::string out_;
  std::string err_;
};

// Looks again and again, 10 s at most, until it holds.
bool eventually(const std::function<bool()>& holds);
// False for a zombie.
bool is_alive(pid_t pid);

}  // namespace defib::run
