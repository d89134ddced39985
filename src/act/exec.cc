#include "act/exec.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <fmt/format.h>
#include <string_view>
#include <utility>
#include <vector>

#include "base/text.h"
#include "core/policy.h"
#include "net/proc.h"

namespace defib::act {

namespace {

// Of the last line of output, in a sentence.
constexpr std::size_t kLineBytesMax = 200;

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = std::min<std::size_t>(bytes.size() - i, 3);
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < left ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    }
    for (std::size_t j = 0; j < 4; ++j) out += j <= left ? kDigits[group >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

// An argument or a variable ends at its first NUL, so there must be none.
std::string without_nul(std::string text) {
  std::replace(text.begin(), text.end(), '\0', ' ');
  return text;
}

using Names = std::array<std::pair<std::string_view, std::string>, 8>;

Names names_of(const core::PerformAction& action) {
  return {{{"{agentId}", action.agent_id},
           {"{agentType}", action.agent_type},
           {"{host}", action.host},
           {"{instanceId}", action.instance_id},
           {"{newInstanceId}", action.new_instance_id},
           {"{incident}", std::to_string(action.incident)},
           {"{attempt}", std::to_string(action.attempt)},
           {"{task}", action.current_task}}};
}

// One pass: a brace in a value is text.
std::string fill_in(std::string_view argument, const Names& names) {
  std::string out;
  while (!argument.empty()) {
    const auto found =
        std::find_if(names.begin(), names.end(), [&](const auto& name) { return argument.starts_with(name.first); });
    out += found != names.end() ? found->second : std::string(1, argument.front());
    argument.remove_prefix(found != names.end() ? found->first.size() : 1);
  }
  return out;
}

net::SpawnOptions options_for(const core::PerformAction& action, const std::string& redis_url) {
  const Names names = names_of(action);
  net::SpawnOptions options;
  for (const std::string& argument : action.step.command) {
    options.command.push_back(options.command.empty() ? argument : without_nul(fill_in(argument, names)));
  }
  options.environment = {
      {"AGENT_ID", action.agent_id},
      {"REDIS_URL", redis_url},
      {"DEFIB_AGENT_ID", action.agent_id},
      {"DEFIB_INSTANCE", action.new_instance_id},
      {"DEFIB_TASK", action.current_task},
      {"DEFIB_TASK_PROGRESS", action.task_progress ? fmt::format("{}", *action.task_progress) : ""},
      {"DEFIB_CAPSULE", base64(action.capsule)},
      {"DEFIB_INCIDENT", std::to_string(action.incident)},
      {"DEFIB_ATTEMPT", std::to_string(action.attempt)},
      {"DEFIB_REASON", action.reason},
  };
  for (auto& [name, value] : options.environment) value = without_nul(std::move(value));
  return options;
}

// The last line that says something, fit for a sentence.
std::string last_line(std::string_view output) {
  const std::size_t end = output.find_last_not_of(std::string_view(" \t\r\n\0", 5));
  if (end == std::string_view::npos) return "";
  output = output.substr(0, end + 1);
  const std::size_t begin = output.find_last_of("\r\n");
  std::string line(clip(begin == std::string_view::npos ? output : output.substr(begin + 1), kLineBytesMax));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return line;
}

ActionResult result_of(const std::string& program, Duration timeout, const net::ProcessEnd& end,
                       const std::string& evidence) {
  ActionResult result{.end = core::ActionEnd::failed};
  if (end.is_timed_out) {
    result.detail = fmt::format("{} ran longer than {} and was ended", program, human_duration(timeout));
  } else if (end.signal != 0) {
    result.detail = fmt::format("{} was ended by signal {}", program, end.signal);
  } else {
    if (end.code == 0) result.end = core::ActionEnd::done;
    result.detail = fmt::format("{} exited with {}", program, end.code);
  }
  const std::string line = last_line(end.output_tail);
  if (!line.empty()) result.detail += fmt::format("; it said \"{}\"", line);
  if (!evidence.empty()) result.detail += fmt::format("; before it, {}", evidence);
  return result;
}

// Why nobody can be sure that the old instance is gone; "" where it is.
std::string doubt_about_end(const core::PerformAction& action, const std::string& host_name) {
  if (action.is_proven_stopped || action.step.allow_two) return "";
  if (action.host.empty() || action.pid <= 0) return "it has not told its host and pid";
  if (action.host != host_name) {
    return fmt::format("it was pid {} on host {}, which can't be seen from {}", action.pid, clip(action.host, 64),
                       host_name);
  }
  if (net::is_running(action.pid)) return fmt::format("its pid {} still runs on this host", action.pid);
  return "";
}

}  // namespace

ExecActor::ExecActor(net::Loop& loop, net::ProcessRunner& runner, std::string redis_url)
    : loop_(loop), runner_(runner), redis_url_(std::move(redis_url)), host_name_(net::read_host_name()) {}

void ExecActor::perform(const core::PerformAction& action, std::function<void(ActionResult)> done) {
  const auto end_at_once = [&](core::ActionEnd end, std::string detail) {
    loop_.post([done, result = ActionResult{end, std::move(detail)}] { done(result); });
  };
  if (action.step.kind == core::StepKind::replace) {
    const std::string doubt = doubt_about_end(action, host_name_);
    if (!doubt.empty()) {
      return end_at_once(core::ActionEnd::refused,
                         fmt::format("no replacement for {}: nothing proves that the old instance has ended ({}); "
                                     "`allow_two: true` in this step would start one all the same",
                                     action.agent_id, doubt));
    }
  }
  // What is killed can't be asked any more.
  std::string evidence;
  if (action.step.kind == core::StepKind::restart && action.pid > 0 && action.host == host_name_) {
    evidence = net::describe_process(action.pid);
  }
  const net::SpawnOptions options = options_for(action, redis_url_);
  const Duration timeout = action.step.timeout;
  const Done started =
      runner_.run(options, timeout, core::kKillGrace,
                  [program = options.command.empty() ? "" : options.command[0], timeout, evidence,
                   done](const net::ProcessEnd& end) { done(result_of(program, timeout, end, evidence)); });
  if (!started) end_at_once(core::ActionEnd::failed, started.error());
}

}  // namespace defib::act
