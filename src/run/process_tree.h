// What /proc knows of a process and all that descend from it (proc(5)).
//
// Two ways to walk a tree. By the `children` files: cheap, cost grows with the tree, but a child may be left out
// while its siblings die; good enough for metrics. By a scan of all of /proc: complete, cost grows with the machine;
// for signals, which are rare and must miss nobody.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <sys/types.h>
#include <vector>

#include "base/time.h"

namespace defib::run {

inline constexpr std::size_t kTreeProcessesMax = 4096;

struct ProcessFacts {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t group = 0;
  char state = '?';  // R S D T t Z X I, as in proc(5).
  std::int64_t threads = 0;
  std::uint64_t own_ticks = 0;     // CPU time used, user and system, in clock ticks.
  std::uint64_t waited_ticks = 0;  // The same of children that it has waited for.
  std::uint64_t resident_pages = 0;
};

// Reads the text of a `stat` file. The command's name in it may hold anything, ')' and line ends included.
std::optional<ProcessFacts> parse_stat(std::string_view stat);
// nullopt where the process is gone.
std::optional<ProcessFacts> read_process(pid_t pid);

// All processes below `root`, itself left out; kTreeProcessesMax at most.
std::vector<ProcessFacts> descendants(pid_t root);
std::vector<ProcessFacts> scan_descendants(pid_t root);

struct TreeUsage {
  double cpu_percent = 0;  // Of one core, since the last sample.
  double memory_mb = 0;    // Sum of the resident sets, in units of 2^20 bytes.
  std::size_t processes = 0;
  // At least one process is neither stopped (state T), nor held up by a child that is, nor a zombie. A process whose
  // first thread has ended while others work on shows as a zombie and is none.
  bool is_living = false;
};

// Measures the descendants of one process from sample to sample.
class TreeMeter {
 public:
  // From now on `root`'s descendants count; CPU time that was used before does not.
  void restart(Instant now, pid_t root);
  TreeUsage sample(Instant now);

 private:
  pid_t root_ = 0;
  Instant last_{};
  std::uint64_t last_ticks_ = 0;
};

}  // namespace defib::run
