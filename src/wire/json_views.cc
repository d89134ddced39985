#include "wire/json_views.h"

#include "base/text.h"

namespace defib::wire {
namespace {

json::value text_or_null(const std::string& text) { return text.empty() ? json::value(nullptr) : json::value(text); }

template <typename T>
json::value number_or_null(const std::optional<T>& number) {
  return number ? json::value(*number) : json::value(nullptr);
}

// An attempt that is under way is `unknown` to everyone but us: the contract has three results.
std::string_view result_name(core::AttemptResult result) {
  return name(result == core::AttemptResult::pending ? core::AttemptResult::unknown : result);
}

}  // namespace

json::object agent_json(const core::AgentView& agent) {
  json::object out;
  out["agentId"] = agent.id;
  out["state"] = name(agent.state);
  out["lastHeartbeat"] = to_ms(agent.last_heartbeat);
  out["missedBeats"] = agent.missed_beats;
  out["uptimeSeconds"] = agent.uptime_seconds;
  out["reason"] = agent.reason;
  out["agentType"] = agent.type;
  out["instanceId"] = text_or_null(agent.instance_id);
  out["host"] = text_or_null(agent.host);
  out["pid"] = agent.pid == 0 ? json::value(nullptr) : json::value(agent.pid);
  out["status"] = name(agent.status);
  if (agent.metrics) {
    out["metrics"] = {{"cpuPercent", agent.metrics->cpu_percent},
                      {"memoryMB", agent.metrics->memory_mb},
                      {"activeTasks", agent.metrics->active_tasks},
                      {"queueDepth", agent.metrics->queue_depth},
                      {"tokensUsedThisHour", agent.metrics->tokens_used_this_hour},
                      {"errorsLast5Min", agent.metrics->errors_last_5_min}};
  } else {
    out["metrics"] = nullptr;
  }
  out["currentTask"] = agent.current_task ? json::value(*agent.current_task) : json::value(nullptr);
  out["taskProgress"] = number_or_null(agent.task_progress);
  out["activity"] = {{"kind", agent.activity}, {"operation", text_or_null(agent.activity_operation)}};
  if (agent.progress_seq) {
    out["progress"] = {{"seq", *agent.progress_seq}, {"action", text_or_null(agent.progress_action)}};
  } else {
    out["progress"] = nullptr;
  }
  out["intervalMs"] = agent.interval_ms;
  out["policy"] = agent.policy;
  out["sequence"] = number_or_null(agent.sequence);
  out["skewMs"] = number_or_null(agent.skew_ms);
  out["source"] = name(agent.source);
  json::object labels;
  for (const auto& [key, value] : agent.labels) labels[key] = value;
  out["labels"] = std::move(labels);
  out["conflict"] = agent.is_conflict;
  out["incident"] = agent.incident == 0 ? json::value(nullptr) : json::value(agent.incident);
  return out;
}

json::object incident_json(const core::Incident& incident) {
  json::object out;
  out["id"] = incident.id;
  out["agentId"] = incident.agent_id;
  out["state"] = incident.phase == core::Phase::closed ? "closed" : "open";
  out["phase"] = name(incident.phase);
  out["phaseReason"] = incident.phase_reason;
  out["verdict"] = name(incident.verdict);
  out["evidence"] = incident.evidence;
  out["outputTail"] = text_or_null(incident.output_tail);
  out["openedAt"] = to_ms(incident.opened_at);
  out["closedAt"] = incident.closed_at ? json::value(to_ms(*incident.closed_at)) : json::value(nullptr);
  out["outcome"] = text_or_null(incident.outcome);
  out["acknowledged"] = incident.is_acknowledged;
  json::array attempts;
  for (const core::Attempt& attempt : incident.attempts) {
    attempts.push_back({{"n", attempt.n},
                        {"step", name(attempt.kind)},
                        {"with", attempt.with},
                        {"startedAt", to_ms(attempt.started_at)},
                        {"result", result_name(attempt.result)},
                        {"isPending", attempt.result == core::AttemptResult::pending},
                        {"detail", attempt.detail}});
  }
  out["attempts"] = std::move(attempts);
  return out;
}

json::object command_json(const core::SendCommand& command) {
  json::object out;
  out["id"] = std::to_string(command.id);
  out["command"] = command.command;
  out["agentId"] = command.agent_id;
  out["instanceId"] = text_or_null(command.instance_id);
  out["reason"] = command.reason;
  out["expiresInMs"] = to_ms(command.expires_in);
  if (command.restarts > 0) out["restarts"] = command.restarts;
  return out;
}

json::object why_json(const core::Why& why) {
  json::object out;
  out["agentId"] = why.agent_id;
  out["state"] = name(why.state);
  out["since"] = to_ms(why.since);
  out["why"] = why.sentence;
  json::array facts;
  for (const auto& fact : why.facts) facts.push_back({{"name", fact.name}, {"value", fact.value}});
  out["facts"] = std::move(facts);
  json::array next;
  for (const auto& step : why.next) {
    next.push_back({{"state", name(step.state)},
                    {"inMs", step.in ? json::value(to_ms(*step.in)) : json::value(nullptr)},
                    {"when", step.when}});
  }
  out["next"] = std::move(next);
  return out;
}

json::object history_json(const core::HistoryRecord& record) {
  json::object out;
  out["id"] = record.id;
  out["at"] = to_ms(record.at);
  out["kind"] = name(record.kind);
  out["agentId"] = text_or_null(record.agent_id);
  out["incident"] = record.incident == 0 ? json::value(nullptr) : json::value(record.incident);
  out["what"] = record.what;
  out["text"] = record.text;
  return out;
}

json::object error_json(std::string_view error, std::string_view code, std::string_view hint) {
  return {{"error", error}, {"code", code}, {"hint", hint}};
}

}  // namespace defib::wire
