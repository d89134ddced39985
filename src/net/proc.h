// What this host knows of a process (proc(5)): whether it lives, and the facts worth keeping before it is killed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace defib::net {

// gethostname(2), as agents report it.
std::string read_host_name();

// False only where the process certainly does not run here: there is none with this pid, or a zombie is all that
// is left of it. A pid that has been given to another process meanwhile counts as running.
bool is_running(std::int64_t pid);

// One line, e.g. "pid 4711: state S (sleeping), 4 threads, waits in do_epoll_wait, 51200 kB resident"; "" where
// there is no such process or it may not be looked at.
std::string describe_process(std::int64_t pid);

}  // namespace defib::net
