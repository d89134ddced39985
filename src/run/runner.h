// One run of `defib run`: the program, its keeper, its output and the link to the monitor, turned in one loop.
//
//     running --ends, or is to end--> clearing --nothing is left--> running, backing_off, waiting or ending
//
// Everything that may take time is watched, nothing is waited for; the program's fate never depends on the link.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/prng.h"
#include "base/time.h"
#include "run/keeper.h"
#include "run/messages.h"
#include "run/monitor_link.h"
#include "run/output_pump.h"
#include "run/poll_set.h"
#include "run/process_tree.h"
#include "run/restart_rule.h"
#include "run/run_program.h"
#include "run/signals.h"

namespace defib::run {

// What run_program() has made of its options and the environment.
struct RunnerSetup {
  std::vector<std::string> command;
  std::string agent_id;
  std::string agent_type;
  std::string host;
  std::string first_instance;  // Empty: a fresh one.
  Duration interval{};
  Duration kill_grace{};
  RestartMode restart = RestartMode::on_failure;
  bool has_terminal = false;  // We have a controlling terminal.
  std::uint64_t seed = 0;
};

class Runner {
 public:
  // The link to the monitor is made by the caller.
  Runner(RunnerSetup setup, std::unique_ptr<MonitorLink> link);

  // To the end of the program and of what there is to say of it. Returns the exit code.
  int run();

 private:
  enum class Phase : std::uint8_t { running, clearing, backing_off, waiting, ending };
  // What follows when nothing of the program is left.
  enum class After : std::uint8_t { decision, restart, stop, fence };
  struct End {
    int code = 0;
    int signal = 0;
    int exit_code() const { return signal != 0 ? 128 + signal : code; }
    bool is_failure() const { return exit_code() != 0; }
    std::string words() const;
  };

  void turn();
  bool is_over();
  void handle_signals();
  void handle_keeper();
  void handle_link();
  void handle_time();
  Instant next_wakeup() const;

  void start_program();
  void on_started(pid_t pid);
  void on_start_failed(int error);
  void on_exited(int status);
  void on_ended_by_itself();
  void on_nothing_left();
  void on_keeper_lost();
  // Ends the program and all it started; `after` follows.
  void clear(After after, int signal);
  void kill_now();
  void follow(const Decision& decision);
  void say_goodbye();
  void end();

  void on_signal(const SignalSeen& seen);
  void on_stop_signal(int signal);
  void stop_without_program();
  void on_command(const ControlCommand& command);
  void on_stop_or_fence(After after, const std::string& why);
  void on_restart_command(const ControlCommand& command);
  void beat();
  void note(std::string_view line) { output_.note(now_, line); }
  bool is_asked_for(const End& end) const;

  const RunnerSetup setup_;
  Prng prng_;
  Signals signals_;
  OutputPump output_;
  Keeper keeper_;
  KeeperOptions keeper_options_;
  std::unique_ptr<MonitorLink> link_;
  RestartRule rule_;
  CommandMemory commands_;
  TreeMeter meter_;
  PollSet poll_;
  Instant now_{};  // Read once a turn.

  Phase phase_ = Phase::running;
  After after_ = After::decision;
  Decision decision_;
  Instance instance_;
  Instant started_{};
  bool has_run_ = false;  // The program was started at least once.
  End last_end_;
  bool has_exited_ = false;  // In `clearing`: the program itself is gone, what it started may be left.
  bool is_tree_gone_ = false;
  bool is_term_sent_ = false;
  Instant kill_at_ = kNever;
  Instant start_at_ = kNever;       // In `backing_off`.
  Instant last_words_by_ = kNever;  // In `ending`.
  bool is_given_up_ = false;        // In `ending`: a second stop signal came.
  Instant beat_at_ = kNever;
  bool is_beat_withheld_ = false;  // All of it was stopped when the last beat was due.
  bool was_on_line_ = false;
  int stop_signals_ = 0;
  int passed_signal_ = 0;     // The last HUP or QUIT that this life of the program got through us.
  Instant interrupted_at_{};  // A person pressed Ctrl-C.
};

}  // namespace defib::run
