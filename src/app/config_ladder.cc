// The `recovery:` list of a policy: restart, replace and alert steps.
#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "app/config_policy.h"
#include "app/config_section.h"
#include "base/text.h"

namespace defib::app {
namespace {

using core::Step;
using core::StepKind;

// DESIGN's words; docker comes with a later version, and saying so is better than "unknown".
constexpr std::array<std::string_view, 2> kAdapters = {"exec", "runner"};
constexpr std::array<std::string_view, 3> kLaterAdapters = {"docker", "systemd", "kubernetes"};
constexpr std::array<std::string_view, 3> kStepNames = {"restart", "replace", "alert"};

// What act/exec puts into the arguments behind the program's name.
constexpr std::array<std::string_view, 8> kPlaceholders = {"agentId",       "agentType", "host",    "instanceId",
                                                           "newInstanceId", "incident",  "attempt", "task"};

void check_placeholders(Findings& findings, const YamlNode& argument) {
  const std::string_view text = argument.text;
  for (std::size_t open = text.find('{'); open != std::string_view::npos; open = text.find('{', open + 1)) {
    const std::size_t close = text.find('}', open);
    if (close == std::string_view::npos) return;
    const std::string_view name = text.substr(open + 1, close - open - 1);
    const bool is_word = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
      return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    });
    if (!is_word || std::find(kPlaceholders.begin(), kPlaceholders.end(), name) != kPlaceholders.end()) continue;
    const std::string hint = did_you_mean(name, kPlaceholders);
    findings.mistake(argument, fmt::format("unknown placeholder {}{}", shown(fmt::format("{{{}}}", name)),
                                           hint.empty() ? ": there are " + name_list(kPlaceholders) : hint));
  }
}

void read_command(Findings& findings, const YamlNode& node, std::vector<std::string>& out) {
  constexpr std::string_view kExample = "[/usr/local/bin/restart-agent, \"{agentId}\"]";
  if (node.kind == YamlNode::Kind::scalar) {
    findings.mistake(
        node,
        fmt::format("`command` is a list of arguments, not one text: no shell is used, write `command: {}`", kExample));
    return;
  }
  if (node.kind != YamlNode::Kind::list || node.items.empty()) {
    findings.mistake(node, fmt::format("`command` is a list of at least one argument: write `command: {}`", kExample));
    return;
  }
  for (const YamlNode& argument : node.items) {
    if (argument.kind == YamlNode::Kind::map) {
      findings.mistake(argument, "an argument is a text, not a map: put a placeholder in quotes, like \"{agentId}\"");
    } else if (argument.kind != YamlNode::Kind::scalar) {
      findings.mistake(argument, fmt::format("an argument is a text, not {}", shown(argument)));
    } else {
      check_placeholders(findings, argument);
      out.push_back(argument.text);
    }
  }
  // An agent that could choose the program by its id could run anything.
  const std::string_view program = node.items.front().text;
  if (program.empty() || program.find_first_of("{}") != std::string_view::npos) {
    findings.mistake(node.items.front(),
                     "the first argument names the program: it is not empty and takes no placeholder");
  }
}

// Which adapter a step is made with; "" where that is a mistake, told here.
std::string read_adapter(const Section& section, const YamlNode& node, std::string_view step) {
  const YamlNode* const with = section.find("with");
  if (with == nullptr || with->kind != YamlNode::Kind::scalar) {
    section.mistake(with == nullptr ? node : *with,
                    fmt::format("{} needs `with`: {}", step, name_list(kAdapters, "or")));
    return "";
  }
  if (std::find(kLaterAdapters.begin(), kLaterAdapters.end(), with->text) != kLaterAdapters.end()) {
    section.mistake(*with,
                    fmt::format("{} is not available in this version; {} are", with->text, name_list(kAdapters)));
    return "";
  }
  const int choice = section.choice("with", kAdapters);
  return choice < 0 ? "" : std::string(kAdapters[static_cast<std::size_t>(choice)]);
}

void check_adapter_keys(const Section& section, const YamlNode& node, std::string_view step, const Step& read) {
  const YamlNode* const command = section.find("command");
  const YamlNode* const image = section.find("image");
  if (image != nullptr && !read.with.empty()) {
    section.mistake(*image, fmt::format("`image` means nothing to {}: it is for containers", read.with));
  }
  if (read.with == "exec" && command == nullptr) {
    section.mistake(node, fmt::format("{} with exec needs `command`, a list of arguments", step));
  }
  if (read.with == "runner" && command != nullptr) {
    section.mistake(*command, "`command` means nothing to runner: `defib run` restarts the program that it was given");
  }
  if (read.with == "runner" && read.kind == StepKind::replace) {
    section.mistake(*section.find("with"), "a runner can restart its program, not replace it: use exec here");
  }
}

void read_action(Findings& findings, const YamlNode& node, StepKind kind, Step& out) {
  static constexpr std::array<std::string_view, 7> kKeys = {"with",          "command", "image",    "attempts",
                                                            "verify_within", "timeout", "allow_two"};
  // A restart has nothing to do with two at once, so it does not know the last key.
  const bool is_replace = kind == StepKind::replace;
  const std::string_view step = is_replace ? "`replace`" : "`restart`";
  const Section section(findings, node, step, std::span(kKeys).first(is_replace ? 7 : 6),
                        is_replace ? "replace: {with: exec, command: [...]}" : "restart: {with: runner}");
  if (node.kind != YamlNode::Kind::map) return;
  out.attempts = is_replace ? 1 : 2;
  out.with = read_adapter(section, node, step);
  if (const YamlNode* const command = section.find("command")) read_command(findings, *command, out.command);
  check_adapter_keys(section, node, step, out);
  section.text("image", out.image);
  section.count("attempts", 1, 20, out.attempts);
  section.duration("verify_within", 100ms, 24h, out.verify_within);
  section.duration("timeout", 1s, 1h, out.timeout);
  section.flag("allow_two", out.allow_two);
}

void read_receivers(Findings& findings, const YamlNode& node, std::span<const std::string> channels,
                    std::vector<std::string>& out) {
  if (node.kind != YamlNode::Kind::list || node.items.empty()) {
    findings.mistake(node,
                     "`to` is a list of at least one channel, like `to: [oncall]`; without it an alert goes to all");
    return;
  }
  const std::vector<std::string_view> names(channels.begin(), channels.end());
  for (const YamlNode& item : node.items) {
    if (item.kind != YamlNode::Kind::scalar) {
      findings.mistake(item, fmt::format("a receiver is the name of a channel, not {}", shown(item)));
    } else if (std::find(names.begin(), names.end(), item.text) == names.end()) {
      const std::string hint = did_you_mean(item.text, names);
      findings.mistake(item, fmt::format("unknown receiver {}{}", shown(item),
                                         !hint.empty()   ? hint
                                         : names.empty() ? ": `alerts` names no channel"
                                                         : ": `alerts` has " + name_list(names)));
    } else if (std::find(out.begin(), out.end(), item.text) != out.end()) {
      findings.mistake(item, fmt::format("receiver {} is repeated", shown(item)));
    } else {
      out.push_back(item.text);
    }
  }
}

void read_alert(Findings& findings, const YamlNode& node, std::span<const std::string> channels, Step& out) {
  static constexpr std::array<std::string_view, 1> kKeys = {"to"};
  // `- alert:` alone is an alert to all channels.
  if (node.kind == YamlNode::Kind::nothing) return;
  const Section section(findings, node, "`alert`", kKeys, "alert: {to: [oncall]}");
  if (const YamlNode* const to = section.find("to")) read_receivers(findings, *to, channels, out.to);
}

void read_step(Findings& findings, const YamlNode& node, std::span<const std::string> channels,
               std::vector<Step>& out) {
  if (node.kind != YamlNode::Kind::map) {
    findings.mistake(
        node,
        fmt::format("a step is a map, not {}: write `- restart: {{with: runner}}` or `- alert: {{}}`", shown(node)));
    return;
  }
  const Section section(findings, node, "a step", kStepNames, "- alert: {to: [oncall]}");
  if (node.entries.size() > 1) {
    findings.mistake(node.entries[1].key, "one step an item: begin a new one with `- `");
  }
  for (std::size_t i = 0; i < kStepNames.size(); ++i) {
    const YamlNode* const body = section.find(kStepNames[i]);
    if (body == nullptr) continue;
    Step step{.kind = static_cast<StepKind>(i)};
    if (step.kind == StepKind::alert) {
      read_alert(findings, *body, channels, step);
    } else {
      read_action(findings, *body, step.kind, step);
    }
    out.push_back(std::move(step));
    return;
  }
}

}  // namespace

void read_ladder(Findings& findings, const YamlNode& node, std::span<const std::string> channels,
                 std::vector<Step>& out) {
  constexpr std::size_t kStepsMax = 16;
  if (node.kind != YamlNode::Kind::list) {
    findings.mistake(
        node,
        fmt::format("`recovery` is a list of steps, not {}: write `- alert: {{}}` below it, or `recovery: []` for "
                    "verdicts only",
                    shown(node)));
    return;
  }
  if (node.items.size() > kStepsMax) {
    findings.mistake(node, fmt::format("{} steps are too many: {} at most", node.items.size(), kStepsMax));
    return;
  }
  out.clear();
  for (const YamlNode& item : node.items) read_step(findings, item, channels, out);
}

}  // namespace defib::app
