#include "wire/json_views.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "base/text.h"

namespace defib::wire {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD in UTF-8.
// Doubles hold whole numbers exactly up to here.
constexpr double kWholeMax = 9007199254740992.0;  // 2^53

// The bytes of the UTF-8 character that `text` begins with (RFC 3629), 0 where it begins with none.
std::size_t character_bytes(std::string_view text) {
  const auto byte = [text](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : static_cast<unsigned char>(0);
  };
  const auto follows = [&byte](std::size_t i, unsigned low, unsigned high) {
    return byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return text.empty() ? 0 : 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1, 0x80, 0xbf) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    // No overlong forms, no surrogates.
    const unsigned low = first == 0xe0 ? 0xa0 : 0x80;
    const unsigned high = first == 0xed ? 0x9f : 0xbf;
    return follows(1, low, high) && follows(2, 0x80, 0xbf) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const unsigned low = first == 0xf0 ? 0x90 : 0x80;
    const unsigned high = first == 0xf4 ? 0x8f : 0xbf;
    return follows(1, low, high) && follows(2, 0x80, 0xbf) && follows(3, 0x80, 0xbf) ? 4 : 0;
  }
  return 0;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

json::string utf8(std::string_view text) {
  if (is_ascii(text)) return json::string(text);
  json::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t bytes = character_bytes(text);
    out.append(bytes == 0 ? kReplacement : text.substr(0, bytes));
    text.remove_prefix(std::max<std::size_t>(bytes, 1));
  }
  return out;
}

json::value text_or_null(std::string_view text) {
  return text.empty() ? json::value(nullptr) : json::value(utf8(text));
}

json::value number(double value) {
  if (!std::isfinite(value)) return nullptr;
  if (value == std::trunc(value) && std::abs(value) < kWholeMax) return static_cast<std::int64_t>(value);
  return value;
}

template <typename T>
json::value number_or_null(const std::optional<T>& value) {
  if (!value) return nullptr;
  if constexpr (std::is_same_v<T, double>) {
    return number(*value);
  } else {
    return *value;
  }
}

template <typename T>
void append_integer(std::string& out, T value) {
  std::array<char, 24> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out.append(digits.data(), end);
}

// What may not stand in a JSON string as it is (RFC 8259, 7); above ASCII it depends on what follows.
constexpr bool is_plain(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x20 && byte < 0x80 && c != '"' && c != '\\';
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
  out["reason"] = utf8(agent.reason);
  out["agentType"] = utf8(agent.type);
  out["instanceId"] = text_or_null(agent.instance_id);
  out["host"] = text_or_null(agent.host);
  out["pid"] = agent.pid == 0 ? json::value(nullptr) : json::value(agent.pid);
  out["status"] = name(agent.status);
  if (agent.metrics) {
    out["metrics"] = {{"cpuPercent", number(agent.metrics->cpu_percent)},
                      {"memoryMB", number(agent.metrics->memory_mb)},
                      {"activeTasks", number(agent.metrics->active_tasks)},
                      {"queueDepth", number(agent.metrics->queue_depth)},
                      {"tokensUsedThisHour", number(agent.metrics->tokens_used_this_hour)},
                      {"errorsLast5Min", number(agent.metrics->errors_last_5_min)}};
  } else {
    out["metrics"] = nullptr;
  }
  out["currentTask"] = agent.current_task ? json::value(utf8(*agent.current_task)) : json::value(nullptr);
  out["taskProgress"] = number_or_null(agent.task_progress);
  out["activity"] = {{"kind", agent.activity}, {"operation", text_or_null(agent.activity_operation)}};
  if (agent.progress_seq) {
    out["progress"] = {{"seq", *agent.progress_seq}, {"action", text_or_null(agent.progress_action)}};
  } else {
    out["progress"] = nullptr;
  }
  out["intervalMs"] = agent.interval_ms;
  out["policy"] = utf8(agent.policy);
  out["sequence"] = number_or_null(agent.sequence);
  out["skewMs"] = number_or_null(agent.skew_ms);
  out["source"] = name(agent.source);
  json::object labels;
  for (const auto& [key, value] : agent.labels) labels[utf8(key)] = utf8(value);
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
  out["phaseReason"] = utf8(incident.phase_reason);
  out["verdict"] = name(incident.verdict);
  out["evidence"] = utf8(incident.evidence);
  out["outputTail"] = text_or_null(incident.output_tail);
  out["openedAt"] = to_ms(incident.opened_at);
  out["closedAt"] = incident.closed_at ? json::value(to_ms(*incident.closed_at)) : json::value(nullptr);
  out["outcome"] = text_or_null(incident.outcome);
  out["acknowledged"] = incident.is_acknowledged;
  json::array attempts;
  for (const core::Attempt& attempt : incident.attempts) {
    attempts.push_back({{"n", attempt.n},
                        {"step", name(attempt.kind)},
                        {"with", utf8(attempt.with)},
                        {"startedAt", to_ms(attempt.started_at)},
                        {"result", result_name(attempt.result)},
                        {"isPending", attempt.result == core::AttemptResult::pending},
                        {"detail", utf8(attempt.detail)}});
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
  out["reason"] = utf8(command.reason);
  out["expiresInMs"] = to_ms(command.expires_in);
  if (command.restarts > 0) out["restarts"] = command.restarts;
  return out;
}

json::object why_json(const core::Why& why) {
  json::object out;
  out["agentId"] = why.agent_id;
  out["state"] = name(why.state);
  out["since"] = to_ms(why.since);
  out["why"] = utf8(why.sentence);
  json::array facts;
  for (const auto& fact : why.facts) facts.push_back({{"name", utf8(fact.name)}, {"value", utf8(fact.value)}});
  out["facts"] = std::move(facts);
  json::array next;
  for (const auto& step : why.next) {
    next.push_back({{"state", name(step.state)},
                    {"inMs", step.in ? json::value(to_ms(*step.in)) : json::value(nullptr)},
                    {"when", utf8(step.when)}});
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
  out["what"] = utf8(record.what);
  out["text"] = utf8(record.text);
  return out;
}

json::object error_json(std::string_view error, std::string_view code, std::string_view hint) {
  return {{"error", utf8(error)}, {"code", code}, {"hint", utf8(hint)}};
}

void append_json_string(std::string& out, std::string_view text) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  out += '"';
  while (!text.empty()) {
    const auto end = std::find_if_not(text.begin(), text.end(), is_plain);
    const auto plain = static_cast<std::size_t>(end - text.begin());
    out.append(text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) break;
    const auto byte = static_cast<unsigned char>(text.front());
    std::size_t taken = 1;
    if (byte == '"' || byte == '\\') {
      out += '\\';
      out += text.front();
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4U];
      out += kHex[byte & 0xfU];
    } else {
      const std::size_t bytes = character_bytes(text);
      out.append(bytes == 0 ? kReplacement : text.substr(0, bytes));
      taken = std::max<std::size_t>(bytes, 1);
    }
    text.remove_prefix(taken);
  }
  out += '"';
}

void append_health_row(std::string& out, const core::AgentView& agent) {
  out += R"({"agentId":)";
  append_json_string(out, agent.id);
  out += R"(,"state":")";
  out += name(agent.state);
  out += R"(","lastHeartbeat":)";
  append_integer(out, to_ms(agent.last_heartbeat));
  out += R"(,"missedBeats":)";
  append_integer(out, agent.missed_beats);
  out += R"(,"uptimeSeconds":)";
  append_integer(out, agent.uptime_seconds);
  out += R"(,"reason":)";
  append_json_string(out, agent.reason);
  out += '}';
}

}  // namespace defib::wire
