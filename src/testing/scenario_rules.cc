#include "testing/scenario_rules.h"

#include <charconv>
#include <fmt/format.h>

namespace defib::stage {
namespace {

std::vector<std::string> split(std::string_view text, char at) {
  std::vector<std::string> parts;
  for (;;) {
    const std::size_t end = text.find(at);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// "restart:exec:2", "replace:exec", "alert", "alert:oncall"; the third part is the number of attempts.
core::Step parse_step(Words& words, const std::string& text) {
  const std::vector<std::string> parts = split(text, ':');
  core::Step step;
  if (parts[0] == "restart") {
    step.kind = core::StepKind::restart;
    step.attempts = 2;
  } else if (parts[0] == "replace") {
    step.kind = core::StepKind::replace;
  } else if (parts[0] == "alert") {
    step.kind = core::StepKind::alert;
    if (parts.size() > 1) step.to = {parts[1]};
    return step;
  } else {
    words.complain(fmt::format("\"{}\" is no step", parts[0]));
  }
  step.with = parts.size() > 1 ? parts[1] : "exec";
  if (step.with == "exec") step.command = {"/usr/local/bin/restart-agent", "{agentId}"};
  if (parts.size() > 2) std::from_chars(parts[2].data(), parts[2].data() + parts[2].size(), step.attempts);
  return step;
}

core::Policy parse_policy(Words& words) {
  core::Policy policy;
  policy.match_id = words.text("id", policy.match_id);
  policy.match_type = words.text("type", policy.match_type);
  policy.interval = words.duration("interval", policy.interval);
  policy.missed_beats = static_cast<std::uint32_t>(words.number("missed_beats", policy.missed_beats));
  policy.startup_grace = words.duration("startup_grace", policy.startup_grace);
  if (words.text("mode") == "observe") policy.mode = core::Mode::observe;
  if (words.text("exit_zero") == "failed") policy.exit_zero = core::State::failed;
  policy.limits.recoveries = static_cast<std::uint32_t>(words.number("recoveries", policy.limits.recoveries));
  policy.limits.per = words.duration("per", policy.limits.per);
  const Duration verify = words.duration("verify_within", 0s);
  if (const auto ladder = words.maybe_text("recovery")) {
    policy.recovery.clear();
    if (*ladder != "none") {
      for (const std::string& step : split(*ladder, ',')) policy.recovery.push_back(parse_step(words, step));
    }
  }
  for (core::Step& step : policy.recovery) {
    step.verify_within = verify;
    step.allow_two = words.has_flag("allow_two");
  }
  return policy;
}

void change_guard(Words& words, core::GuardRule& guard) {
  guard.share_percent = static_cast<std::uint32_t>(words.number("share", guard.share_percent));
  guard.within = words.duration("within", guard.within);
  guard.at_least = static_cast<std::uint32_t>(words.number("at_least", guard.at_least));
  guard.holds_at_most = words.duration("holds", guard.holds_at_most);
}

}  // namespace

bool change_rules(Words& words, core::Rules& rules) {
  if (words.verb() == "policy") {
    rules.policies.push_back(parse_policy(words));
  } else if (words.verb() == "policies") {
    if (words.word(0) != "clear") words.complain("policies clear");
    rules.policies.clear();
  } else if (words.verb() == "channel") {
    rules.channels.push_back(words.word(0));
  } else if (words.verb() == "limits") {
    rules.limits.at_once = static_cast<std::uint32_t>(words.number("at_once", rules.limits.at_once));
    rules.limits.per_minute = static_cast<std::uint32_t>(words.number("per_minute", rules.limits.per_minute));
  } else if (words.verb() == "guard") {
    change_guard(words, rules.guard);
  } else if (words.verb() == "keep") {
    rules.keep.stopped_agents = words.duration("stopped", rules.keep.stopped_agents);
  } else if (words.verb() == "bounds") {
    rules.bounds.agents = static_cast<std::size_t>(words.number("agents", 1'000'000));
    rules.bounds.capsule_bytes = static_cast<std::size_t>(words.number("capsule_bytes", std::int64_t{256} << 20));
  } else if (words.verb() == "alerts") {
    rules.alert_repeat = words.duration("repeat", rules.alert_repeat);
  } else {
    return false;
  }
  return true;
}

}  // namespace defib::stage
