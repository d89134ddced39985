#include "app/config_policy.h"

#include <array>
#include <fmt/format.h>

#include "app/config_section.h"
#include "base/text.h"

namespace defib::app {
namespace {

using core::Mode;
using core::Policy;

constexpr std::array<std::string_view, 2> kModes = {"observe", "enforce"};
constexpr std::array<std::string_view, 2> kExitZero = {"stopped", "failed"};

void read_mode(const Section& section, Mode& out) {
  const int choice = section.choice("mode", kModes);
  if (choice >= 0) out = choice == 0 ? Mode::observe : Mode::enforce;
}

void read_glob(const Section& section, std::string_view key, std::string& out) {
  std::string glob;
  if (!section.text(key, glob)) return;
  constexpr std::size_t kGlobBytesMax = 256;  // Twice the longest agent id.
  if (glob.size() > kGlobBytesMax) {
    section.mistake(*section.find(key), fmt::format("`{}` is longer than {} bytes", key, kGlobBytesMax));
  } else {
    out = std::move(glob);
  }
}

void read_match(Findings& findings, const YamlNode& node, Policy& out) {
  static constexpr std::array<std::string_view, 2> kKeys = {"id", "type"};
  const Section section(findings, node, "`match`", kKeys, "match: {type: planner}");
  read_glob(section, "id", out.match_id);
  read_glob(section, "type", out.match_type);
}

void read_stall(Findings& findings, const YamlNode& node, core::StallRule& out) {
  static constexpr std::array<std::string_view, 4> kKeys = {"no_progress", "repeats", "longest_hold", "mode"};
  const Section section(findings, node, "`stall`", kKeys, "stall: {no_progress: 10m, mode: observe}");
  section.duration("no_progress", 1s, 7 * 24h, out.no_progress);
  section.count("repeats", 2, 1000, out.repeats);
  section.duration("longest_hold", 1s, 7 * 24h, out.longest_hold);
  read_mode(section, out.mode);
}

void read_limits(Findings& findings, const YamlNode& node, core::Limits& out) {
  static constexpr std::array<std::string_view, 2> kKeys = {"recoveries", "per"};
  const Section section(findings, node, "`limits`", kKeys, "limits: {recoveries: 5, per: 10m}");
  section.count("recoveries", 1, 1000, out.recoveries);
  section.duration("per", 1s, 7 * 24h, out.per);
}

Policy read_policy(Findings& findings, const YamlNode& node, std::span<const std::string> channels) {
  static constexpr std::array<std::string_view, 9> kKeys = {
      "match", "interval", "missed_beats", "startup_grace", "mode", "exit_zero", "stall", "recovery", "limits"};
  Policy out;
  const Section section(findings, node, "a policy", kKeys, "- match: {id: \"*\"}");
  if (const YamlNode* const match = section.find("match")) read_match(findings, *match, out);
  section.duration("interval", core::kIntervalMin, core::kIntervalMax, out.interval);
  section.count("missed_beats", 1, 100, out.missed_beats);
  section.duration("startup_grace", 0s, 24h, out.startup_grace);
  read_mode(section, out.mode);
  const int exit_zero = section.choice("exit_zero", kExitZero);
  if (exit_zero >= 0) out.exit_zero = exit_zero == 0 ? core::State::stopped : core::State::failed;
  if (const YamlNode* const stall = section.find("stall")) read_stall(findings, *stall, out.stall);
  if (const YamlNode* const recovery = section.find("recovery"))
    read_ladder(findings, *recovery, channels, out.recovery);
  if (const YamlNode* const limits = section.find("limits")) read_limits(findings, *limits, out.limits);
  return out;
}

// True where every text that `later` matches is matched by `earlier`. A '?' of `earlier` might stand for a '*' of
// `later`, so those are compared as they are.
bool covers(std::string_view earlier, std::string_view later) {
  if (earlier == later) return true;
  return earlier.find('?') == std::string_view::npos && glob_match(earlier, later);
}

void warn_of_shadowed(Findings& findings, const YamlNode& list, std::span<const Policy> policies) {
  for (std::size_t later = 1; later < policies.size(); ++later) {
    for (std::size_t earlier = 0; earlier < later; ++earlier) {
      if (!covers(policies[earlier].match_id, policies[later].match_id) ||
          !covers(policies[earlier].match_type, policies[later].match_type)) {
        continue;
      }
      findings.warning(list.items[later],
                       fmt::format("this policy never holds: the first that matches does, and the one in "
                                   "line {} matches all that this one would",
                                   list.items[earlier].line));
      break;
    }
  }
}

}  // namespace

void read_policies(Findings& findings, const YamlNode& node, std::span<const std::string> channels,
                   std::vector<Policy>& out) {
  // Each beat of a new agent walks the list, and each pair of policies is compared here.
  constexpr std::size_t kPoliciesMax = 1000;
  if (node.kind != YamlNode::Kind::list) {
    findings.mistake(node,
                     fmt::format("`policies` is a list, not {}: write `- match: {{id: \"*\"}}` below it", shown(node)));
    return;
  }
  if (node.items.size() > kPoliciesMax) {
    findings.mistake(node, fmt::format("{} policies are too many: {} at most", node.items.size(), kPoliciesMax));
    return;
  }
  out.clear();
  for (const YamlNode& item : node.items) out.push_back(read_policy(findings, item, channels));
  if (!findings.has_mistakes()) warn_of_shadowed(findings, node, out);
}

}  // namespace defib::app
