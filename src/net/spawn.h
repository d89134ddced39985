// One program started: argument list, environment, output, session. Who watches it is net/process.h's business.
#pragma once

#include <sys/types.h>

#include "base/result.h"
#include "net/process.h"

namespace defib::net {

// The caller owns both descriptors, and reaps the child by its pidfd (waitid(2), P_PIDFD).
struct Spawned {
  pid_t pid = 0;
  int pidfd = -1;
  int output = -1;  // The reading end, non-blocking; -1 where output is not captured.
};

// Returns once the program runs, or says why it does not ("no such program: x"). The child gets /dev/null as its
// input, no descriptor of ours above 2, no blocked signal and every signal's default. vfork(2) underneath, so
// the cost does not grow with our memory.
Result<Spawned> spawn(const SpawnOptions& options);

}  // namespace defib::net
