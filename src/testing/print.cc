#include "testing/print.h"

#include <algorithm>
#include <fmt/format.h>
#include <variant>

#include "base/text.h"

namespace defib::stage {
namespace {

// A sentence stays on its line, whatever a program printed.
std::string one_line(std::string_view text) {
  std::string line;
  for (const char c : text) {
    if (c == '\n') {
      line += " | ";
    } else {
      line += c;
    }
  }
  return line;
}

void add_text(std::string& line, std::string_view key, std::string_view value) {
  if (!value.empty()) line += fmt::format(" {}=\"{}\"", key, one_line(value));
}

void add_word(std::string& line, std::string_view key, std::string_view value) {
  if (!value.empty()) line += fmt::format(" {}={}", key, value);
}

std::string print_persist(const core::Persist& persist) {
  if (persist.token == 0) return "";
  std::string what = "record";
  if (const auto* incident = std::get_if<core::Incident>(&persist.record)) {
    what = incident->attempts.empty() ? fmt::format("incident {} {}", incident->id, name(incident->phase))
                                      : fmt::format("attempt {}.{} {}", incident->id, incident->attempts.back().n,
                                                    name(incident->attempts.back().result));
  } else if (const auto* grant = std::get_if<core::GrantRecord>(&persist.record)) {
    what = fmt::format("grant {} {} restarts", grant->agent_id, grant->restarts);
    add_word(what, "instance", grant->instance_id);
    if (grant->spent != 0) what += fmt::format(" spent {}", grant->spent);
  } else if (const auto* agent = std::get_if<core::AgentRecord>(&persist.record)) {
    what = fmt::format("agent {} {}", agent->id, name(agent->state));
  } else if (const auto* notice = std::get_if<core::NoticeRecord>(&persist.record)) {
    what = fmt::format("notice {}", notice->id);
  }
  return fmt::format("persist {} (token {})", what, persist.token);
}

std::string print_action(const core::PerformAction& action) {
  std::string line = fmt::format("act {}.{} {} {} {}", action.incident, action.attempt, name(action.step.kind),
                                 action.step.with, action.agent_id);
  add_word(line, "instance", action.instance_id);
  add_word(line, "new", action.new_instance_id.empty() ? "" : "yes");
  if (action.is_proven_stopped) line += " proven_stopped";
  add_text(line, "task", action.current_task);
  if (action.task_progress) line += fmt::format(" progress={}", *action.task_progress);
  add_text(line, "capsule", action.capsule);
  return fmt::format("{}: {}", line, one_line(action.reason));
}

std::string print_command(const core::SendCommand& command) {
  std::string line = fmt::format("command {} {}", command.command, command.agent_id);
  add_word(line, "instance", command.instance_id);
  if (command.restarts != 0) line += fmt::format(" restarts={}", command.restarts);
  return fmt::format("{}: {}", line, one_line(command.reason));
}

std::string print_notice(const core::NoticeRecord& notice) {
  return fmt::format("notice {} {} {} {} incident {}: {} [{}]", notice.id, notice.channel, name(notice.status),
                     notice.severity, notice.incident, one_line(notice.message), one_line(notice.action_required));
}

std::string print_announcement(const core::HistoryRecord& line) {
  std::string who(name(line.kind));
  if (line.incident != 0) who += fmt::format(" #{}", line.incident);
  if (!line.agent_id.empty()) who += " " + line.agent_id;
  return fmt::format("{} {}: {}", who, line.what, one_line(line.text));
}

std::string print_answer(const core::OperatorAnswer& answer) {
  std::string line = fmt::format("answer {}", answer.status);
  if (!answer.code.empty()) line += " " + answer.code;
  if (answer.incident != 0) line += fmt::format(" incident {}", answer.incident);
  line += ": " + one_line(answer.message);
  if (!answer.hint.empty()) line += fmt::format(" ({})", one_line(answer.hint));
  return line;
}

}  // namespace

std::string print_time(Duration since_start) {
  const std::int64_t ms = to_ms(since_start);
  return fmt::format("{:02}:{:02}:{:02}.{:03}", ms / 3'600'000, ms / 60'000 % 60, ms / 1000 % 60, ms % 1000);
}

std::string print(const core::Effect& effect) {
  if (const auto* persist = std::get_if<core::Persist>(&effect)) return print_persist(*persist);
  if (const auto* action = std::get_if<core::PerformAction>(&effect)) return print_action(*action);
  if (const auto* command = std::get_if<core::SendCommand>(&effect)) return print_command(*command);
  if (const auto* notice = std::get_if<core::SendNotice>(&effect)) return print_notice(notice->notice);
  if (const auto* line = std::get_if<core::Announce>(&effect)) return print_announcement(line->record);
  return print_answer(std::get<core::OperatorAnswer>(effect));
}

std::string print(const core::AgentView& agent) {
  std::string line = fmt::format("agent {} {}", agent.id, name(agent.state));
  if (agent.missed_beats != 0) line += fmt::format(" missed {}", agent.missed_beats);
  if (agent.incident != 0) line += fmt::format(" #{}", agent.incident);
  add_word(line, "instance", agent.instance_id);
  if (agent.sequence) line += fmt::format(" seq={}", *agent.sequence);
  add_text(line, "task", agent.current_task.value_or(""));
  if (agent.is_conflict) line += " CONFLICT";
  return fmt::format("{}: {}", line, one_line(agent.reason));
}

std::string print(const core::Incident& incident) {
  std::string text =
      fmt::format("incident {} {} {} {}", incident.id, incident.agent_id, name(incident.verdict), name(incident.phase));
  if (incident.is_acknowledged) text += " acknowledged";
  if (!incident.outcome.empty()) text += fmt::format(" \"{}\"", incident.outcome);
  text += ": " + one_line(incident.evidence);
  if (!incident.phase_reason.empty()) text += fmt::format("\n  because {}", one_line(incident.phase_reason));
  if (!incident.output_tail.empty()) text += fmt::format("\n  output {}", one_line(incident.output_tail));
  for (const core::Attempt& attempt : incident.attempts) {
    text += fmt::format("\n  attempt {} {} {} {}: {}", attempt.n, name(attempt.kind), attempt.with,
                        name(attempt.result), one_line(attempt.detail));
  }
  return text;
}

std::string print(const core::Why& why) {
  std::string text = fmt::format("{} {}: {}", why.agent_id, name(why.state), one_line(why.sentence));
  for (const auto& fact : why.facts) text += fmt::format("\n  {}: {}", fact.name, one_line(fact.value));
  for (const auto& next : why.next) {
    text += fmt::format("\n  next {}{}: {}", name(next.state),
                        next.in ? fmt::format(" in {}", format_duration(*next.in)) : "", one_line(next.when));
  }
  return text;
}

std::string print(const core::Counters& counters) {
  return fmt::format(
      "beats accepted {} refused {} stale {} fenced {}, table full {}, incidents {}, attempts made {} verified {} "
      "failed {}, notices {}, blind spells {}",
      counters.beats_accepted, counters.beats_refused, counters.beats_stale, counters.beats_fenced, counters.table_full,
      counters.incidents_opened, counters.attempts_made, counters.attempts_verified, counters.attempts_failed,
      counters.notices_sent, counters.blind_spells);
}

std::string print(const core::SourceView& source) {
  std::string line = fmt::format("source {} {}", name(source.source), source.is_blind ? "blind" : "sees");
  if (!source.reason.empty()) line += ": " + source.reason;
  return line;
}

}  // namespace defib::stage
