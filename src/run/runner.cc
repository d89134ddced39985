#include "run/runner.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/wait.h>

#include "base/text.h"
#include "net/loop.h"

namespace defib::run {
namespace {

// How long the last words to the monitor may take once the program is gone.
constexpr Duration kLastWordsLimit = 2s;
// How often it is looked whether they, and the rest of the output, are out.
constexpr Duration kEndingTick = 20ms;
// Beats come up to this much early, so that a fleet that was started as one does not beat as one for ever.
constexpr std::int64_t kBeatJitterPercent = 5;

std::string fresh_instance_id() {
  std::uint64_t bits = 0;
  DEFIB_CHECK(getrandom(&bits, sizeof bits, 0) == sizeof bits);
  return fmt::format("{:016x}", bits);
}

}  // namespace

std::string Runner::End::words() const {
  return signal != 0 ? fmt::format("was ended by signal {} ({})", signal, strsignal(signal))
                     : fmt::format("ended with exit code {}", code);
}

Runner::Runner(RunnerSetup setup, std::unique_ptr<MonitorLink> link)
    : setup_(std::move(setup)), prng_(setup_.seed), link_(std::move(link)), rule_(setup_.restart, prng_.next()) {
  instance_.agent_id = setup_.agent_id;
  instance_.agent_type = setup_.agent_type;
  instance_.host = setup_.host;
  instance_.interval = setup_.interval;
}

int Runner::run() {
  now_ = net::read_steady();
  signals_.take_over();
  Done done = output_.open();
  keeper_options_ = {.command = setup_.command,
                     .stdout_fd = output_.program_stdout(),
                     .stderr_fd = output_.program_stderr(),
                     .shares_group = setup_.has_terminal,
                     .blocked = signals_.former_mask(),
                     .ignored = signals_.formerly_ignored()};
  if (done) done = keeper_.start(keeper_options_);
  if (!done) {
    note(done.error());
    return kExitOwnFault;
  }
  start_program();
  while (!is_over()) turn();
  if (output_.dropped() > 0) {
    note(fmt::format("{} bytes of output were dropped: nobody read them", output_.dropped()));
  }
  return last_end_.exit_code();
}

void Runner::turn() {
  poll_.clear();
  const std::size_t signal_slot = poll_.add(signals_.fd(), POLLIN);
  const std::size_t keeper_slot = poll_.add(keeper_.fd(), POLLIN);
  output_.add_to(poll_);
  link_->add_to(poll_);
  poll_.wait(next_wakeup() - net::read_steady());
  now_ = net::read_steady();
  if (poll_.ready(keeper_slot) != 0) handle_keeper();
  if (poll_.ready(signal_slot) != 0) handle_signals();
  output_.step(now_, poll_);
  link_->step(now_, poll_);
  handle_link();
  handle_time();
}

Instant Runner::next_wakeup() const {
  // A day at most, so that the sums that are made of it stay far from overflow.
  return std::min({now_ + 24h, output_.next_wakeup(), link_->next_wakeup(), kill_at_, start_at_, beat_at_,
                   phase_ == Phase::ending ? now_ + kEndingTick : kNever});
}

bool Runner::is_over() {
  if (phase_ != Phase::ending) return false;
  // Output that somebody reads is written to its end. The last words have their time; a monitor that was never there
  // gets none of it.
  const bool is_said = !link_->has_unsaid() || now_ >= last_words_by_ || (!was_on_line_ && link_->is_lost());
  return is_given_up_ || (output_.finish(now_) && is_said);
}

void Runner::handle_keeper() {
  while (const std::optional<KeeperEvent> event = keeper_.next()) {
    switch (event->kind) {
      case KeeperEvent::Kind::started:
        on_started(event->value);
        break;
      case KeeperEvent::Kind::start_failed:
        on_start_failed(event->value);
        break;
      case KeeperEvent::Kind::exited:
        on_exited(event->value);
        break;
      case KeeperEvent::Kind::continued:
        if (is_beat_withheld_) beat();
        break;
      case KeeperEvent::Kind::tree_gone:
        is_tree_gone_ = true;
        break;
      case KeeperEvent::Kind::lost:
        on_keeper_lost();
        break;
    }
  }
  if (phase_ != Phase::clearing || !has_exited_) return;
  if (is_tree_gone_) return on_nothing_left();
  // The program has ended by itself and left something behind.
  if (!is_term_sent_) clear(after_, SIGTERM);
}

void Runner::on_keeper_lost() {
  if (phase_ == Phase::ending) return;
  if (const Done done = keeper_.start(keeper_options_); !done) {
    note(done.error());
    last_end_ = {.code = kExitOwnFault};
    return end();
  }
  const bool was_alive = (phase_ == Phase::running || phase_ == Phase::clearing) && !has_exited_;
  // The program died with its keeper, and so did all that it had started.
  if (was_alive) on_exited(SIGKILL);
  is_tree_gone_ = true;
}

void Runner::handle_link() {
  for (const LinkEvent& event : link_->take_events()) {
    switch (event.kind) {
      case LinkEvent::Kind::on_line:
        was_on_line_ = true;
        beat();
        break;
      case LinkEvent::Kind::command:
        on_command(event.command);
        break;
      case LinkEvent::Kind::fenced:
        on_stop_or_fence(After::fence, event.text);
        break;
      case LinkEvent::Kind::trouble:
        note(event.text);
        break;
    }
  }
}

void Runner::handle_time() {
  if (now_ >= kill_at_) kill_now();
  if (phase_ == Phase::backing_off && now_ >= start_at_) start_program();
  if (phase_ == Phase::waiting && !link_->hears_commands()) follow(rule_.on_monitor_lost(last_end_.is_failure()));
  if (now_ >= beat_at_) beat();
}

// ---- The program's life ----------------------------------------------------------------------------------

void Runner::start_program() {
  phase_ = Phase::running;
  after_ = After::decision;
  has_exited_ = false;
  is_tree_gone_ = false;
  is_term_sent_ = false;
  kill_at_ = kNever;
  start_at_ = kNever;
  passed_signal_ = 0;
  output_.clear_tail();
  instance_.id = has_run_ || setup_.first_instance.empty() ? fresh_instance_id() : setup_.first_instance;
  instance_.pid = 0;
  instance_.sequence = 0;
  // Two starts within a millisecond are two registrations all the same.
  instance_.started_at = std::max(net::read_wall(), instance_.started_at + std::chrono::milliseconds(1));
  started_ = now_;
  keeper_.start_program(instance_.id);
}

void Runner::on_started(pid_t pid) {
  has_run_ = true;
  instance_.pid = pid;
  meter_.restart(now_, keeper_.pid());
  link_->keep(now_, registration_message(instance_), true);
  beat();
}

void Runner::on_start_failed(int error) {
  const bool is_missing = error == ENOENT || error == ENOTDIR;
  const bool is_ours = error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE;
  last_end_ = {.code = is_ours ? kExitOwnFault : is_missing ? kExitNotFound : kExitNotExecutable};
  const std::string why = fmt::format("cannot start {}: {}", setup_.command[0], std::strerror(error));
  note(why);
  has_exited_ = true;
  is_tree_gone_ = true;
  if (!has_run_) return end();
  // A later start: this life is told like any other that failed.
  if (phase_ == Phase::running) on_ended_by_itself();
}

void Runner::on_exited(int status) {
  output_.drain(now_);
  last_end_ = WIFSIGNALED(status) ? End{.signal = WTERMSIG(status)} : End{.code = WEXITSTATUS(status)};
  has_exited_ = true;
  beat_at_ = kNever;
  if (phase_ == Phase::running) on_ended_by_itself();
}

void Runner::on_ended_by_itself() {
  phase_ = Phase::clearing;
  after_ = After::decision;
  if (is_asked_for(last_end_)) {
    after_ = After::stop;
    return;
  }
  decision_ = rule_.on_exit(last_end_.is_failure(), now_ - started_, link_->hears_commands());
  const bool is_clean_end = !last_end_.is_failure() && decision_.kind == Decision::Kind::end;
  if (is_clean_end) return;  // The goodbye says it, once nothing is left.
  ExitReport report{.code = last_end_.code,
                    .signal = last_end_.signal,
                    .output = std::string(output_.tail()),
                    .is_restarted = decision_.kind == Decision::Kind::now,
                    .spent = rule_.spent()};
  if (!output_.has_tail()) report.output = "(not kept: the output went to a terminal)";
  link_->keep(now_, exit_message(instance_, net::read_wall(), report), false);
}

bool Runner::is_asked_for(const End& end) const {
  if (end.signal != 0 && end.signal == passed_signal_) return true;
  // A program may answer Ctrl-C by going on, or by an exit code of its own.
  return setup_.has_terminal && end.is_failure() && interrupted_at_ > started_ &&
         now_ - interrupted_at_ < setup_.kill_grace;
}

void Runner::clear(After after, int signal) {
  phase_ = Phase::clearing;
  after_ = after;
  beat_at_ = kNever;
  kill_at_ = now_ + setup_.kill_grace;
  is_term_sent_ = true;
  keeper_.signal_tree(signal);
  // A stopped process hears nothing but this and KILL.
  keeper_.signal_tree(SIGCONT);
}

void Runner::kill_now() {
  kill_at_ = kNever;
  keeper_.signal_tree(SIGKILL);
}

void Runner::on_nothing_left() {
  output_.drain(now_);
  kill_at_ = kNever;
  switch (after_) {
    case After::restart:
      return start_program();
    case After::stop:
      say_goodbye();
      return end();
    case After::fence:
      return end();
    case After::decision:
      return follow(decision_);
  }
}

void Runner::follow(const Decision& decision) {
  decision_ = decision;
  const std::string& name = setup_.command[0];
  switch (decision.kind) {
    case Decision::Kind::now:
      note(fmt::format("{} {}; it is started again (restart {} of {} that the monitor granted)", name,
                       last_end_.words(), rule_.spent(), rule_.granted()));
      return start_program();
    case Decision::Kind::after:
      note(fmt::format("{} {}; it is started again in {}", name, last_end_.words(), human_duration(decision.delay)));
      phase_ = Phase::backing_off;
      start_at_ = now_ + decision.delay;
      return;
    case Decision::Kind::wait_for_monitor:
      note(fmt::format("{} {}; the granted restarts are used up, so the monitor decides", name, last_end_.words()));
      phase_ = Phase::waiting;
      return;
    case Decision::Kind::end:
      if (!last_end_.is_failure()) say_goodbye();
      return end();
  }
}

void Runner::say_goodbye() {
  std::optional<ExitReport> report;
  if (after_ == After::decision) report = ExitReport{.output = std::string(output_.tail()), .spent = rule_.spent()};
  link_->keep(now_, goodbye_message(instance_, net::read_wall(), report), false);
}

void Runner::end() {
  phase_ = Phase::ending;
  beat_at_ = kNever;
  start_at_ = kNever;
  kill_at_ = kNever;
  last_words_by_ = now_ + kLastWordsLimit;
}

// ---- What comes from outside -----------------------------------------------------------------------------

void Runner::handle_signals() {
  while (const std::optional<SignalSeen> seen = signals_.next()) on_signal(*seen);
}

void Runner::on_signal(const SignalSeen& seen) {
  // The terminal's keys reach the whole group, and so the program, by themselves.
  const bool is_shared = setup_.has_terminal && seen.is_from_terminal;
  const bool has_program = phase_ == Phase::running || phase_ == Phase::clearing;
  switch (seen.number) {
    case SIGTERM:
      return on_stop_signal(SIGTERM);
    case SIGINT:
      if (!is_shared || phase_ != Phase::running) return on_stop_signal(SIGINT);
      interrupted_at_ = now_;
      return;
    case SIGHUP:
    case SIGQUIT:
      if (!has_program) return on_stop_signal(seen.number);
      passed_signal_ = seen.number;
      if (!is_shared) keeper_.signal_program(seen.number);
      return;
    case SIGTSTP:
      if (is_shared) {
        // The shell waits for this process to stop, not for the program.
        raise(SIGSTOP);
        return;
      }
      [[fallthrough]];
    case SIGCONT:
    case SIGWINCH:
      if (has_program && !is_shared) keeper_.signal_tree(seen.number);
      return;
    default:
      keeper_.signal_program(seen.number);
  }
}

void Runner::on_stop_signal(int signal) {
  ++stop_signals_;
  switch (phase_) {
    case Phase::running:
      return clear(After::stop, signal);
    case Phase::clearing:
      if (after_ != After::fence) after_ = After::stop;
      if (stop_signals_ > 1) kill_now();
      return;
    case Phase::backing_off:
    case Phase::waiting:
      return stop_without_program();
    case Phase::ending:
      is_given_up_ = stop_signals_ > 1;
      return;
  }
}

void Runner::stop_without_program() {
  after_ = After::stop;
  say_goodbye();
  end();
}

void Runner::on_command(const ControlCommand& command) {
  const bool is_ours = (command.agent_id.empty() || command.agent_id == setup_.agent_id) &&
                       (command.instance_id.empty() || command.instance_id == instance_.id);
  if (!is_ours || command.expires_in_ms <= 0 || !commands_.remember(command)) return;
  if (command.command == "grant") return rule_.grant(command.restarts);
  if (command.command == "restart") return on_restart_command(command);
  if (command.command == "stop") return on_stop_or_fence(After::stop, command.reason);
  if (command.command == "fence") return on_stop_or_fence(After::fence, command.reason);
}

void Runner::on_restart_command(const ControlCommand& command) {
  const bool is_to_end = phase_ == Phase::ending || (phase_ == Phase::clearing && after_ != After::decision);
  if (is_to_end) return;
  note(fmt::format("the monitor asked for a restart: {}", command.reason));
  if (phase_ == Phase::running) return clear(After::restart, SIGTERM);
  if (phase_ == Phase::clearing) {
    after_ = After::restart;
    return;
  }
  start_program();
}

void Runner::on_stop_or_fence(After after, const std::string& why) {
  if (phase_ == Phase::ending || after_ == After::fence) return;
  note(fmt::format("the monitor {}: {}", after == After::fence ? "has fenced this agent" : "asked for a stop", why));
  switch (phase_) {
    case Phase::running:
      return clear(after, SIGTERM);
    case Phase::clearing:
      after_ = after;
      return;
    case Phase::backing_off:
    case Phase::waiting:
      after_ = after;
      if (after == After::stop) say_goodbye();
      return end();
    case Phase::ending:
      return;
  }
}

void Runner::beat() {
  if (phase_ != Phase::running || instance_.pid == 0) return;
  const std::int64_t early = prng_.between(0, setup_.interval.count() / 100 * kBeatJitterPercent);
  beat_at_ = now_ + setup_.interval - Duration(early);
  const TreeUsage usage = meter_.sample(now_);
  is_beat_withheld_ = !usage.is_living;
  if (usage.is_living) link_->say(now_, beat_message(instance_, net::read_wall(), usage));
}

}  // namespace defib::run
