#include "app/config.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <memory>

#include "app/config_policy.h"
#include "app/config_section.h"
#include "app/console.h"
#include "net/address.h"

namespace defib::app {
namespace {

constexpr std::array<std::string_view, 15> kTopKeys = {
    "http",     "agents", "redis", "data_dir", "state",        "namespace", "token",       "allow_open",
    "policies", "alerts", "guard", "keep",     "fleet_limits", "bounds",    "alert_repeat"};

constexpr std::array<std::string_view, 2> kStates = {"journal", "redis"};
constexpr std::string_view kNoRedisYet =
    "a Redis source is not in this version: leave it out, and point the agents at the monitor's own `agents` address";
constexpr std::string_view kNoRedisStateYet =
    "state in Redis is not in this version; `journal` (the data directory) is";

void read_address(const Section& top, std::string_view key, std::string& out) {
  std::string text;
  if (!top.text(key, text)) return;
  if (const auto address = net::parse_address(text); !address) {
    const YamlNode& node = *top.find(key);
    top.mistake(node, fmt::format("`{}`: {}", key,
                                  node.is_from_environment ? "the value from the environment is no address "
                                                             "like 127.0.0.1:7070"
                                                           : address.error()));
  } else {
    out = std::move(text);
  }
}

bool is_redis_url(std::string_view url) {
  for (const std::string_view scheme : {"redis://", "rediss://", "unix://"}) {
    if (url.starts_with(scheme)) return url.size() > scheme.size() && url.find(' ') == std::string_view::npos;
  }
  return false;
}

std::string_view redis_mistake(std::string_view url) {
  return is_redis_url(url) ? kNoRedisYet
                           : "a Redis address begins with redis://, rediss:// or unix://, e.g. redis://127.0.0.1:6379";
}

// Where it listens, keeps its state, and who may come in.
void read_place(const Section& top, Config& out) {
  read_address(top, "http", out.http);
  read_address(top, "agents", out.agents);
  if (top.text("redis", out.redis)) {
    top.mistake(*top.find("redis"), fmt::format("`redis`: {}", redis_mistake(out.redis)));
  }
  top.text("data_dir", out.data_dir);
  const int state = top.choice("state", kStates);
  if (state == 1) top.mistake(*top.find("state"), fmt::format("`state`: {}", kNoRedisStateYet));
  if (top.text("namespace", out.name_space) && !is_plain_name(out.name_space)) {
    top.mistake(*top.find("namespace"), "`namespace` is 1 to 64 of A-Z a-z 0-9 . _ -");
  }
  if (top.text("token", out.token) && out.token.find(' ') != std::string::npos) {
    top.mistake(*top.find("token"), "`token` has a space in it: a bearer token has none");
  }
  top.flag("allow_open", out.allow_open);
}

void read_guard(Findings& findings, const YamlNode& node, core::GuardRule& out) {
  static constexpr std::array<std::string_view, 4> kKeys = {"share", "within", "at_least", "holds_at_most"};
  const Section section(findings, node, "`guard`", kKeys, "guard: {share: 30%, within: 30s, at_least: 5}");
  section.percent("share", out.share_percent);
  section.duration("within", 1s, 1h, out.within);
  section.count("at_least", 1, 1'000'000, out.at_least);
  section.duration("holds_at_most", 1s, 24h, out.holds_at_most);
}

void read_fleet_limits(Findings& findings, const YamlNode& node, core::FleetLimits& out) {
  static constexpr std::array<std::string_view, 2> kKeys = {"at_once", "per_minute"};
  const Section section(findings, node, "`fleet_limits`", kKeys, "fleet_limits: {at_once: 10, per_minute: 30}");
  section.count("at_once", 1, 10'000, out.at_once);
  section.count("per_minute", 1, 100'000, out.per_minute);
}

void read_keep(Findings& findings, const YamlNode& node, core::Keep& out) {
  static constexpr std::array<std::string_view, 3> kKeys = {"stopped_agents", "events", "incidents"};
  constexpr Duration kTenYears = 3650 * 24h;
  const Section section(findings, node, "`keep`", kKeys, "keep: {stopped_agents: 24h, events: 30d, incidents: 90d}");
  section.duration("stopped_agents", 1s, kTenYears, out.stopped_agents);
  section.duration("events", 1s, kTenYears, out.events);
  section.duration("incidents", 1s, kTenYears, out.incidents);
}

void read_bounds(Findings& findings, const YamlNode& node, core::Bounds& out) {
  static constexpr std::array<std::string_view, 1> kKeys = {"agents"};
  const Section section(findings, node, "`bounds`", kKeys, "bounds: {agents: 1000000}");
  section.count("agents", 1, 10'000'000, out.agents);
}

void read_rules(Findings& findings, const Section& top, Config& out) {
  if (const YamlNode* const alerts = top.find("alerts")) {
    read_channels(findings, *alerts, out.channels, out.rules.channels);
  }
  if (const YamlNode* const policies = top.find("policies")) {
    read_policies(findings, *policies, out.rules.channels, out.rules.policies);
  }
  if (const YamlNode* const guard = top.find("guard")) read_guard(findings, *guard, out.rules.guard);
  if (const YamlNode* const limits = top.find("fleet_limits")) read_fleet_limits(findings, *limits, out.rules.limits);
  if (const YamlNode* const keep = top.find("keep")) read_keep(findings, *keep, out.rules.keep);
  if (const YamlNode* const bounds = top.find("bounds")) read_bounds(findings, *bounds, out.rules.bounds);
  top.duration("alert_repeat", 1s, 7 * 24h, out.rules.alert_repeat);
}

// An agent that no policy matches has the defaults, whose ladder alerts all channels.
bool has_catch_all(const core::Rules& rules) {
  return std::any_of(rules.policies.begin(), rules.policies.end(),
                     [](const core::Policy& policy) { return policy.match_id == "*" && policy.match_type == "*"; });
}

bool is_reached(const core::Rules& rules, const std::string& channel) {
  if (!has_catch_all(rules)) return true;
  for (const core::Policy& policy : rules.policies) {
    for (const core::Step& step : policy.recovery) {
      if (step.kind != core::StepKind::alert) continue;
      if (step.to.empty() || std::find(step.to.begin(), step.to.end(), channel) != step.to.end()) return true;
    }
  }
  return false;
}

void warn_of_alerts(Findings& findings, const YamlNode* alerts, const core::Rules& rules) {
  for (std::size_t i = 0; i < rules.channels.size(); ++i) {
    if (is_reached(rules, rules.channels[i])) continue;
    findings.warning(alerts->entries[i].key,
                     fmt::format("no policy alerts channel `{}`: nothing is ever sent to it", rules.channels[i]));
  }
  const bool alerts_somebody =
      std::any_of(rules.policies.begin(), rules.policies.end(), [](const core::Policy& policy) {
        return std::any_of(policy.recovery.begin(), policy.recovery.end(),
                           [](const core::Step& step) { return step.kind == core::StepKind::alert; });
      });
  if (rules.channels.empty() && alerts_somebody) {
    findings.warning(
        "`alerts` names no channel: incidents are shown by `defib incidents` and on the page, and nobody is told");
  }
}

void read_tree(Findings& findings, const YamlNode& root, Config& out) {
  if (root.kind == YamlNode::Kind::nothing) return;
  const Section top(findings, root, "the configuration", kTopKeys, "policies: [...]");
  if (root.kind != YamlNode::Kind::map) return;
  read_place(top, out);
  read_rules(findings, top, out);
  if (!findings.has_mistakes()) warn_of_alerts(findings, top.find("alerts"), out.rules);
}

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

// At most one byte above the bound, so that a file that is too large is told, not read.
Result<std::string> read_file(const std::string& path) {
  const std::unique_ptr<std::FILE, FileCloser> file(std::fopen(path.c_str(), "rb"));
  if (!file) return Error{fmt::format("can't be opened: {}", std::strerror(errno))};
  std::string text(kConfigBytesMax + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()) != 0) return Error{fmt::format("can't be read: {}", std::strerror(errno))};
  return text;
}

void check_listening(const Config& config, std::string_view what, std::string_view address,
                     std::vector<ConfigMistake>& out) {
  const auto endpoint = net::parse_address(address);
  if (!endpoint) {
    out.push_back({.message = fmt::format("{}: {}", what, endpoint.error())});
  } else if (!net::is_loopback(endpoint.value()) && config.token.empty() && !config.allow_open) {
    out.push_back(
        {.message = fmt::format("{}: {} is open to other machines: set `token` (or DEFIB_TOKEN), or `allow_open: true` "
                                "where the network is trusted",
                                what, address)});
  }
}

}  // namespace

ConfigReading read_config(std::string_view yaml) {
  ConfigReading out;
  Findings findings;
  YamlNode root = read_yaml(yaml, findings);
  if (!findings.has_mistakes()) {
    put_in_environment(root, findings);
    read_tree(findings, root, out.config);
  }
  findings.move_to(out);
  return out;
}

ConfigReading read_config_file(const std::string& path) {
  const Result<std::string> text = read_file(path);
  if (text) return read_config(text.value());
  ConfigReading out;
  out.mistakes.push_back({.message = text.error()});
  return out;
}

std::vector<ConfigMistake> check_config(const Config& config) {
  std::vector<ConfigMistake> out;
  check_listening(config, "http", config.http, out);
  check_listening(config, "agents", config.agents, out);
  if (!config.redis.empty()) out.push_back({.message = fmt::format("redis: {}", redis_mistake(config.redis))});
  if (config.data_dir.empty())
    out.push_back({.message = "data_dir: it is empty: name a directory, or `memory` to keep nothing"});
  if (config.state == "redis") {
    out.push_back({.message = fmt::format("state: {}", kNoRedisStateYet)});
  } else if (config.state != "journal") {
    out.push_back({.message = fmt::format("state: it is {}", name_list(kStates, "or"))});
  }
  return out;
}

std::string mistake_line(std::string_view file, const ConfigMistake& mistake, std::string_view kind) {
  const std::string place = mistake.line == 0 ? "" : fmt::format("{}:{}:", mistake.line, mistake.column);
  return fmt::format("{}:{} {}{}", file, place, kind, safe_text(mistake.message));
}

}  // namespace defib::app
