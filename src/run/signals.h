// The signals that the runner takes, read as data in its turns; and what the program starts with instead.
#pragma once

#include <optional>
#include <signal.h>

#include "run/unique_fd.h"

namespace defib::run {

struct SignalSeen {
  int number = 0;
  // Sent by the kernel to a whole group: keys at a terminal, its size, its end.
  bool is_from_terminal = false;
};

class Signals {
 public:
  // Takes HUP INT QUIT TERM USR1 USR2 WINCH TSTP CONT, but what was ignored stays ignored (nohup(1)). Ignores
  // PIPE; no longer ignores CHLD, under which no end of a child could be told.
  void take_over();
  std::optional<SignalSeen> next();

  int fd() const { return fd_.get(); }
  // As they were before: what was blocked, and which of PIPE and CHLD were ignored.
  const sigset_t& former_mask() const { return former_mask_; }
  const sigset_t& formerly_ignored() const { return formerly_ignored_; }

 private:
  UniqueFd fd_;
  sigset_t former_mask_{};
  sigset_t formerly_ignored_{};
};

}  // namespace defib::run
