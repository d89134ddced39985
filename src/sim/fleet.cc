#include "sim/fleet.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/check.h"

namespace defib::sim {
namespace {

constexpr std::uint32_t kHosts = 4;
constexpr std::array<std::string_view, 4> kKindNames = {"plain", "named", "runner", "ping"};
// Policies speak for plain clients, runners and jobs, whose beats say no interval of their own.
constexpr std::array<Duration, 4> kPolicyIntervals = {30s, 30s, 60s, 5min};
// Named clients choose theirs.
constexpr std::array<Duration, 5> kNamedIntervals = {10s, 30s, 60s, 2min, 5min};

core::Step step(core::StepKind kind, std::string with, std::uint32_t attempts, bool allow_two = false) {
  core::Step made{.kind = kind, .with = std::move(with), .attempts = attempts, .allow_two = allow_two};
  if (made.with == "exec") made.command = {"restart-agent", "{agentId}"};
  return made;
}

core::Policy policy(Kind kind, std::uint32_t missed_beats, std::vector<core::Step> ladder) {
  core::Policy made;
  made.match_type = name(kind);
  made.interval = kPolicyIntervals[static_cast<std::size_t>(kind)];
  made.missed_beats = missed_beats;
  made.recovery = std::move(ladder);
  return made;
}

}  // namespace

std::string_view name(Kind kind) { return kKindNames[static_cast<std::size_t>(kind)]; }

core::Rules Fleet::rules() {
  using core::StepKind;
  const core::Step alert{.kind = StepKind::alert};
  core::Rules rules;
  rules.channels = {"oncall", "mail"};
  rules.policies.push_back(policy(Kind::plain, 3, {step(StepKind::restart, "exec", 2), alert}));
  rules.policies.push_back(
      policy(Kind::named, 3, {step(StepKind::restart, "exec", 1), step(StepKind::replace, "exec", 1, true), alert}));
  rules.policies.push_back(policy(
      Kind::runner, 2, {step(StepKind::restart, "runner", 2), step(StepKind::replace, "exec", 1, false), alert}));
  rules.policies.push_back(policy(Kind::ping, 1, {alert}));
  return rules;
}

Fleet::Fleet(std::uint32_t count, Prng& prng) {
  for (std::uint32_t i = 0; i < count; ++i) {
    PretendAgent agent;
    const std::uint64_t dice = prng.below(100);
    agent.kind = dice < 45 ? Kind::plain : dice < 75 ? Kind::named : dice < 95 ? Kind::runner : Kind::ping;
    agent.id = fmt::format("{}{}", name(agent.kind), i);
    agent.type = name(agent.kind);
    agent.host = fmt::format("host{}", prng.below(kHosts));
    agent.interval = agent.kind == Kind::named ? kNamedIntervals[prng.below(kNamedIntervals.size())]
                                               : kPolicyIntervals[static_cast<std::size_t>(agent.kind)];
    if (agent.kind == Kind::ping) {
      agent.source = core::Source::http;
    } else if (agent.kind != Kind::runner && prng.below(3) == 0) {
      agent.source = core::Source::redis;
    }
    agent.skew_ms = prng.below(10) == 0 ? prng.between(-600'000, 600'000) : prng.between(-50, 50);
    agent.has_clock = agent.kind != Kind::ping && prng.below(20) != 0;
    agents.push_back(std::move(agent));
  }
}

std::uint32_t Fleet::make_process(std::uint32_t index, std::int64_t wall_ms, std::string instance_id) {
  PretendAgent& agent = agents[index];
  Process process;
  process.agent = index;
  process.life = ++agent.lives;
  process.host = agent.host;
  process.pid = next_pid_++;
  process.connection = agent.source == core::Source::redis ? 0 : static_cast<std::uint64_t>(process.pid);
  process.interval = agent.interval;
  process.registered_at_ms = wall_ms + agent.skew_ms;
  process.is_obedient = agent.kind != Kind::plain;
  if (agent.kind == Kind::named || agent.kind == Kind::runner) {
    process.instance_id =
        instance_id.empty() ? fmt::format("i{}-{}", process.life, process.pid) : std::move(instance_id);
  }
  processes.push_back(std::move(process));
  agent.history.push_back(static_cast<std::uint32_t>(processes.size() - 1));
  if (agent.history.size() > kHistoryMax) agent.history.pop_front();
  return static_cast<std::uint32_t>(processes.size() - 1);
}

std::uint32_t Fleet::start(std::uint32_t index, std::int64_t wall_ms, std::string instance_id) {
  const std::uint32_t process = make_process(index, wall_ms, std::move(instance_id));
  PretendAgent& agent = agents[index];
  if (agent.has_current && current(agent).condition != Condition::gone) agent.others.push_back(agent.current);
  agent.current = process;
  agent.has_current = true;
  return process;
}

std::uint32_t Fleet::start_twin(std::uint32_t index, std::int64_t wall_ms) {
  const std::uint32_t process = make_process(index, wall_ms, "");
  processes[process].is_twin = true;
  agents[index].others.push_back(process);
  return process;
}

void Fleet::end(std::uint32_t index) {
  Process& process = processes[index];
  DEFIB_CHECK(process.condition != Condition::gone);
  process.condition = Condition::gone;
  ++process.generation;
  std::erase(agents[process.agent].others, index);
}

}  // namespace defib::sim
