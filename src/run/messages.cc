#include "run/messages.h"

#include <algorithm>
#include <fmt/format.h>

#include <boost/json.hpp>

#include "base/text.h"
#include "wire/json_views.h"

namespace defib::run {
namespace {

namespace json = boost::json;

// A reason is shown to a person; more of it is no reason.
constexpr std::size_t kReasonBytesMax = 512;

void append_text(std::string& out, std::string_view key, std::string_view value) {
  out += fmt::format(",\"{}\":", key);
  wire::append_json_string(out, value);
}

// What all messages share, without the closing brace. Numbers that a runner can't know of a program are 0.
std::string begin_message(Instance& instance, WallTime now, std::string_view status, const TreeUsage& usage) {
  std::string out =
      fmt::format(R"({{"timestamp":{},"sequence":{},"intervalMs":{},"startedAt":{},"pid":{})", to_ms(now),
                  ++instance.sequence, to_ms(instance.interval), to_ms(instance.started_at), instance.pid);
  append_text(out, "agentId", instance.agent_id);
  append_text(out, "agentType", instance.agent_type);
  append_text(out, "instanceId", instance.id);
  append_text(out, "host", instance.host);
  append_text(out, "status", status);
  out += fmt::format(R"(,"metrics":{{"cpuPercent":{:.2f},"memoryMB":{:.2f},"activeTasks":0,"queueDepth":0,)"
                     R"("tokensUsedThisHour":0,"errorsLast5Min":0}},"runner":{{"version":"{}"}})",
                     usage.cpu_percent, usage.memory_mb, DEFIB_VERSION);
  return out;
}

void append_exit(std::string& out, const ExitReport& report) {
  out += fmt::format(R"(,"exit":{{"code":{},"signal":{},"restarted":{},"spent":{})", report.code, report.signal,
                     report.is_restarted, report.spent);
  append_text(out, "output", report.output);
  out += '}';
}

std::string text_of(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return {};
  if (const json::string* text = value->if_string()) return std::string(text->data(), text->size());
  if (const std::int64_t* number = value->if_int64()) return std::to_string(*number);
  return {};
}

std::int64_t number_of(const json::object& object, std::string_view key, std::int64_t otherwise) {
  const json::value* value = object.if_contains(key);
  const std::int64_t* number = value == nullptr ? nullptr : value->if_int64();
  return number == nullptr ? otherwise : *number;
}

Result<ControlCommand> read_command(const json::value& value) {
  const json::object* object = value.if_object();
  if (object == nullptr) return Error{"a command must be a JSON object"};
  ControlCommand command;
  command.id = text_of(*object, "id");
  command.command = text_of(*object, "command");
  command.agent_id = text_of(*object, "agentId");
  command.instance_id = text_of(*object, "instanceId");
  command.reason = clip(text_of(*object, "reason"), kReasonBytesMax);
  command.expires_in_ms = number_of(*object, "expiresInMs", 60'000);
  command.restarts =
      static_cast<std::uint32_t>(std::clamp<std::int64_t>(number_of(*object, "restarts", 0), 0, 1'000'000));
  if (command.id.empty() || command.command.empty()) return Error{"a command needs \"id\" and \"command\""};
  return command;
}

}  // namespace

Message registration_message(const Instance& instance) {
  return {.fields = {{"registeredAt", std::to_string(to_ms(instance.started_at))},
                     {"type", instance.agent_type},
                     {"host", instance.host},
                     {"pid", std::to_string(instance.pid)},
                     {"status", "starting"}}};
}

Message beat_message(Instance& instance, WallTime now, const TreeUsage& usage) {
  Message message;
  message.json = begin_message(instance, now, "healthy", usage) + '}';
  message.fields = {{"lastHeartbeat", std::to_string(to_ms(now))},
                    {"sequence", std::to_string(instance.sequence)},
                    {"status", "healthy"},
                    {"cpuPercent", fmt::format("{:.2f}", usage.cpu_percent)},
                    {"memoryMB", fmt::format("{:.2f}", usage.memory_mb)}};
  return message;
}

Message exit_message(Instance& instance, WallTime now, const ExitReport& report) {
  Message message;
  message.json = begin_message(instance, now, report.is_restarted ? "recovering" : "degraded", {});
  append_exit(message.json, report);
  message.json += '}';
  return message;
}

Message goodbye_message(Instance& instance, WallTime now, const std::optional<ExitReport>& end) {
  Message message;
  message.json = begin_message(instance, now, "stopped", {});
  if (end) append_exit(message.json, *end);
  message.json += '}';
  // A wall clock that was set back must not make the goodbye older than the registration: it would not count.
  const WallTime stopped_at = std::max(now, instance.started_at);
  message.fields = {{"status", "stopped"}, {"stoppedAt", std::to_string(to_ms(stopped_at))}};
  return message;
}

Result<ControlCommand> parse_command(std::string_view text) {
  boost::system::error_code error;
  const json::value value = json::parse({text.data(), text.size()}, error);
  if (error) return Error{"a command must be a JSON object"};
  return read_command(value);
}

std::vector<ControlCommand> parse_answer_commands(std::string_view text) {
  std::vector<ControlCommand> commands;
  boost::system::error_code error;
  const json::value value = json::parse({text.data(), text.size()}, error);
  const json::object* object = error ? nullptr : value.if_object();
  const json::value* list = object == nullptr ? nullptr : object->if_contains("commands");
  const json::array* items = list == nullptr ? nullptr : list->if_array();
  if (items == nullptr) return commands;
  for (const json::value& item : *items) {
    Result<ControlCommand> command = read_command(item);
    if (command && commands.size() < CommandMemory::kCommandsMax) commands.push_back(std::move(command).value());
  }
  return commands;
}

bool CommandMemory::remember(const ControlCommand& command) {
  // The core and the adapters count their ids apart, so that a number alone names no command.
  std::string key = fmt::format("{} {}", command.command, command.id);
  if (std::find(seen_.begin(), seen_.end(), key) != seen_.end()) return false;
  seen_.push_back(std::move(key));
  if (seen_.size() > kCommandsMax) seen_.pop_front();
  return true;
}

}  // namespace defib::run
