// `defib run -- COMMAND`: starts a program, beats for it, passes signals on, reports its end and starts it again.
//
// It never harms the program: without a monitor, without a network, with an output that nobody reads, the program runs
// as it would alone. The program leads a process group of its own; where we have a controlling terminal it stays in
// ours, so that the terminal's keys reach it. When the program has ended, what it left behind is ended too (TERM, then
// KILL after the grace), daemons with a session of their own included; and all of it dies when the runner is killed.
//
// The program finds in its environment DEFIB_AGENT_ID, AGENT_ID, DEFIB_INSTANCE, DEFIB_URL, and REDIS_URL where the URL
// is redis:// and it has none of its own; DEFIB_TASK and the like are passed on as they are.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "core/policy.h"
#include "run/restart_rule.h"

namespace defib::run {

struct RunOptions {
  std::vector<std::string> command;  // command[0] is looked up in PATH.
  std::string id;                    // Empty: default_agent_id().
  std::string type = "program";
  Duration interval = 30s;  // The guide's; core::kIntervalMin to core::kIntervalMax.
  std::string url;          // Empty: $DEFIB_URL, else redis://127.0.0.1:7379.
  std::string token;        // A secret. Empty: $DEFIB_TOKEN, else none.
  std::string name_space;   // Empty: $DEFIB_NAMESPACE, else none.
  RestartMode restart = RestartMode::on_failure;
  Duration kill_grace = core::kKillGrace;
};

// Exit codes of the runner's own: its fault, found but not executable, not found. As env(1) and nohup(1) have them.
inline constexpr int kExitOwnFault = 125;
inline constexpr int kExitNotExecutable = 126;
inline constexpr int kExitNotFound = 127;

// The command's base name, '-' and the host's name, with '-' for what an id can't hold; the same after a restart of the
// program, the runner or the host. Where the host's name changes (a container without --hostname), give an id.
std::string default_agent_id(std::string_view command, std::string_view host);

// Runs the program to its end. Takes over the process's signals and its children; call it once, before any thread
// is started. Returns what the process should exit with: the program's code, 128 + signal, or one of the above.
int run_program(const RunOptions& options);

}  // namespace defib::run
