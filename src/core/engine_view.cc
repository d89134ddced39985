// The reading side of the engine: values for API, metrics and command line, and the answer to "why".
#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "core/engine_rooms.h"

namespace defib::core {
namespace {

std::string policy_words(const Registry& registry, const Agent& agent) {
  const Policy& policy = registry.policy(agent);
  if (policy.match_id == "*" && policy.match_type == "*") return "default";
  std::string words;
  if (policy.match_id != "*") words = "id=" + policy.match_id;
  if (policy.match_type != "*") words += (words.empty() ? "type=" : " type=") + policy.match_type;
  return words;
}

std::string silence_words(const Detector& detector, const Agent& agent, Instant now) {
  return human_duration(detector.silence(agent, now));
}

// The `reason` of the guide's endpoints: one sentence.
std::string reason_of(const Detector& detector, const Agent& agent, Instant now) {
  const std::string every = human_duration(agent.interval);
  switch (agent.state) {
    case State::starting:
      return fmt::format("registered {} ago, no beat yet", silence_words(detector, agent, now));
    case State::healthy:
    case State::stalled:
      return fmt::format("beat {} ago, one is due every {}", silence_words(detector, agent, now), every);
    case State::missing:
      return fmt::format("silent for {}, a beat was due every {}; failed at {} missed beats",
                         silence_words(detector, agent, now), every, agent.missed_beats_threshold);
    case State::failed:
      if (agent.is_ended && agent.rare) return fmt::format("ended with {}", agent.rare->exit_text);
      if (!agent.has_beaten) return "registered and never beat";
      return fmt::format("silent for {}, a beat was due every {}", silence_words(detector, agent, now), every);
    case State::stopped:
      return "it said goodbye, or ended cleanly";
  }
  return {};
}

std::int64_t uptime_seconds(const Agent& agent, const Now& now) {
  if (!agent.has_beaten) return 0;
  // By the agent's own clock where it tells both ends, so that skew between hosts does not count.
  std::int64_t ms = agent.started_at_ms != 0 && agent.timestamp_ms >= agent.started_at_ms
                        ? agent.timestamp_ms - agent.started_at_ms
                        : to_ms(agent.last_heard_wall) - to_ms(agent.first_heard_wall);
  const bool is_up = agent.state == State::healthy || agent.state == State::missing || agent.state == State::stalled;
  if (is_up) ms += to_ms(now.steady - agent.last_heard);
  return std::max<std::int64_t>(0, ms / 1000);
}

std::string activity_words(const Agent& agent) {
  if (agent.rare && agent.rare->has_activity) return std::string(name(agent.rare->activity));
  return agent.has_task ? "working" : "idle";
}

}  // namespace

std::array<std::uint64_t, kStateCount> Engine::counts() const { return rooms_->registry.counts(); }

AgentView Engine::Rooms::view(const Agent& agent, Instant now) const {
  AgentView view;
  view.key = agent.key;
  view.id = agent.id;
  view.type = registry.type(agent);
  view.state = agent.state;
  if (agent.last_heard_wall != WallTime{}) view.last_heartbeat = agent.last_heard_wall;
  view.missed_beats = detector.missed_beats(agent, now);
  view.uptime_seconds = uptime_seconds(agent, Now{now, {}});
  view.reason = reason_of(detector, agent, now);
  view.instance_id = agent.instance_id;
  view.host = registry.host(agent);
  view.pid = agent.pid;
  view.status = agent.status;
  if (agent.metrics) {
    const FloatMetrics& m = *agent.metrics;
    view.metrics = Metrics{m.cpu_percent,           m.memory_mb,        m.active_tasks, m.queue_depth,
                           m.tokens_used_this_hour, m.errors_last_5_min};
  }
  if (agent.has_task) view.current_task = agent.task;
  if (agent.task_progress >= 0) view.task_progress = agent.task_progress;
  view.activity = activity_words(agent);
  view.interval_ms = to_ms(agent.interval);
  view.policy = policy_words(registry, agent);
  if (agent.has_sequence) view.sequence = agent.sequence;
  if (agent.timestamp_ms != 0) view.skew_ms = agent.timestamp_ms - to_ms(agent.last_heard_wall);
  view.source = agent.source;
  view.incident = agent.incident;
  if (agent.rare) {
    view.activity_operation = agent.rare->has_activity ? agent.rare->activity_operation : std::string();
    view.progress_seq = agent.rare->progress_seq;
    view.progress_action = agent.rare->progress_action;
    view.labels = agent.rare->labels;
    view.is_conflict = agent.rare->conflict_until > now;
  }
  return view;
}

std::optional<AgentView> Engine::agent(Instant now, std::string_view id) const {
  const Agent* agent = rooms_->registry.find(id);
  if (agent == nullptr) return std::nullopt;
  return rooms_->view(*agent, now);
}

std::optional<AgentKey> Engine::list_agents(Instant now, const AgentFilter& filter, AgentKey from,
                                            std::uint32_t look_at_most,
                                            const std::function<void(const AgentView&)>& take) const {
  const Registry& registry = rooms_->registry;
  AgentKey key = from;
  for (std::uint32_t looked = 0; key < registry.key_end(); ++key, ++looked) {
    if (looked >= look_at_most) return key;
    const Agent& agent = registry.at(key);
    if (!agent.is_used || (filter.state && agent.state != *filter.state)) continue;
    if (!filter.type.empty() && registry.type(agent) != filter.type) continue;
    if (!filter.text.empty() && agent.id.find(filter.text) == std::string::npos) continue;
    take(rooms_->view(agent, now));
  }
  return std::nullopt;
}

std::optional<Why> Engine::why(Instant now, std::string_view id) const {
  const Rooms& rooms = *rooms_;
  const Agent* found = rooms.registry.find(id);
  if (found == nullptr) return std::nullopt;
  const Agent& agent = *found;
  Why why{.agent_id = agent.id, .state = agent.state, .since = agent.state_since_wall};
  why.sentence = fmt::format("{} is {}: {}", agent.id, name(agent.state), reason_of(rooms.detector, agent, now));

  const auto fact = [&](std::string_view what, std::string value) {
    why.facts.push_back({std::string(what), std::move(value)});
  };
  const Instant from = agent.has_beaten ? agent.last_heard : agent.registered;
  fact(agent.has_beaten ? "last beat" : "registered", human_duration(now - from) + " ago");
  fact("silence counted", human_duration(rooms.detector.silence(agent, now)));
  const Duration blind = rooms.health.blind_time(agent.source, from, now);
  if (blind > Duration{0}) fact("blind time not counted", human_duration(blind));
  fact("interval",
       human_duration(agent.interval) + (agent.has_own_interval ? " (told by the beat)" : " (the policy's)"));
  fact("threshold", fmt::format("{} x {} + {} grace", agent.missed_beats_threshold, human_duration(agent.interval),
                                human_duration(jitter_grace(agent.interval))));
  fact("missed beats", std::to_string(rooms.detector.missed_beats(agent, now)));
  fact("policy", policy_words(rooms.registry, agent));
  fact("source",
       std::string(name(agent.source)) +
           (rooms.health.is_blind(agent.source) ? " (blind: " + rooms.health.reason(agent.source) + ")" : ""));
  if (agent.has_sequence) fact("sequence", std::to_string(agent.sequence));
  if (!agent.instance_id.empty()) fact("instance", agent.instance_id);
  if (agent.timestamp_ms != 0) {
    fact("clock skew", fmt::format("{} ms (shown only)", agent.timestamp_ms - to_ms(agent.last_heard_wall)));
  }
  if (agent.rare && agent.is_ended) fact("exit", agent.rare->exit_text);
  if (agent.rare && agent.rare->conflict_until > now) fact("conflict", "two instances beat under this id");
  fact("progress", agent.rare && agent.rare->progress_seq ? fmt::format("seq {}", *agent.rare->progress_seq)
                                                          : std::string("reports no progress"));
  if (const auto incident = rooms.book.get(agent.incident)) {
    fact("incident", fmt::format("{} ({}: {})", incident->id, name(incident->phase), incident->phase_reason));
  }

  const Detector::Deadline deadline = rooms.detector.deadline(agent);
  if (deadline.at != kNever && !deadline.is_departure) {
    why.next.push_back({next_state(agent.state, deadline.stimulus),
                        rooms.health.is_blind(agent.source)
                            ? std::nullopt
                            : std::optional<Duration>(std::max(Duration{0}, deadline.at - now)),
                        rooms.health.is_blind(agent.source) ? "not while its source is blind" : "no beat by then"});
  }
  if (agent.state != State::healthy) {
    why.next.push_back({State::healthy, std::nullopt,
                        agent.expects_successor ? "a beat of a new instance: the old one was replaced" : "a beat"});
  }
  if (agent.state != State::stopped) why.next.push_back({State::stopped, std::nullopt, "a goodbye"});
  return why;
}

std::vector<Incident> Engine::incidents(std::optional<bool> open, IncidentId before, std::size_t limit) const {
  return rooms_->book.list(open, before, limit);
}

std::optional<Incident> Engine::incident(IncidentId id) const { return rooms_->book.get(id); }

std::vector<SourceView> Engine::sources() const {
  std::vector<SourceView> views;
  for (std::size_t i = 0; i < kSourceCount; ++i) {
    const auto source = static_cast<Source>(i);
    views.push_back({source, rooms_->health.is_blind(source), rooms_->health.reason(source)});
  }
  return views;
}

Counters Engine::counters() const { return rooms_->counters; }
bool Engine::is_journal_writable() const { return rooms_->recovery.is_journal_writable(); }
std::string Engine::guard_reason() const { return rooms_->guard.reason(); }

}  // namespace defib::core
