// What time does to agents: deadlines, settling, leaving the table, checkpoints, coming back from the journal.
#include <algorithm>
#include <fmt/format.h>

#include "base/check.h"
#include "base/text.h"
#include "core/detector.h"

namespace defib::core {

Duration Detector::silence(const Agent& agent, Instant now) const {
  const Instant from = agent.has_beaten ? agent.last_heard : agent.registered;
  return std::max(Duration{0}, now - from - health_.blind_time(agent.source, from, now));
}

std::uint64_t Detector::missed_beats(const Agent& agent, Instant now) const {
  if (!agent.has_beaten || agent.state == State::stopped) return 0;
  return static_cast<std::uint64_t>(silence(agent, now) / agent.interval);
}

Detector::Deadline Detector::deadline(const Agent& agent) const {
  const Duration grace = jitter_grace(agent.interval);
  const auto silent_for = [&](Instant from, Duration silence, Stimulus stimulus) {
    const Instant at = health_.when_silent_for(agent.source, from, silence);
    return Deadline{std::max(at, health_.reprieve(agent.source, from, agent.interval, at)), stimulus};
  };
  switch (agent.state) {
    case State::starting:
      return silent_for(agent.registered, startup_grace(registry_.policy(agent), agent.interval),
                        Stimulus::startup_passed);
    case State::healthy:
    case State::stalled:
      // With a threshold of one the grace lies between `missing` and `failed` (rule 2).
      return silent_for(agent.last_heard, agent.missed_beats_threshold == 1 ? agent.interval : agent.interval + grace,
                        Stimulus::interval_passed);
    case State::missing:
      return silent_for(agent.last_heard, agent.missed_beats_threshold * agent.interval + grace,
                        Stimulus::threshold_passed);
    case State::failed:
      if (agent.incident != 0) return {};
      [[fallthrough]];
    case State::stopped:
      return {.at = agent.state_since + registry_.rules().keep.stopped_agents, .is_departure = true};
  }
  return {};
}

void Detector::rearm(AgentKey key, Instant now) {
  Agent& agent = registry_.at(key);
  list_if_gone(agent);
  const Instant at = deadline(agent).at;
  if (at == kNever) return wheel_.disarm(key);
  wheel_.arm(key, std::max(at, now));
}

void Detector::list_if_gone(Agent& agent) {
  if (agent.is_gone() == agent.is_listed_gone) return;
  if (agent.is_listed_gone) return unlist(agent);
  agent.is_listed_gone = true;
  gone_.emplace(agent.state_since, agent.key);
}

void Detector::unlist(Agent& agent) {
  if (!agent.is_listed_gone) return;
  agent.is_listed_gone = false;
  DEFIB_CHECK(gone_.erase({agent.state_since, agent.key}) == 1);
}

void Detector::settle(Turn& turn) {
  due_.clear();
  wheel_.expire(turn.now.steady, due_);
  for (const AgentKey key : due_) {
    if (registry_.is_used(key)) on_deadline(turn, key);
  }
}

void Detector::on_deadline(Turn& turn, AgentKey key) {
  const Instant now = turn.now.steady;
  // Twice at most: an agent may be overdue for `missing` and for `failed` at once.
  for (int i = 0; i < 2; ++i) {
    Agent& agent = registry_.at(key);
    const Deadline due = deadline(agent);
    if (due.at > now) return rearm(key, now);
    if (due.is_departure)
      return forget(
          turn, agent,
          agent.state == State::stopped ? "it has been stopped for long" : "it has failed and was closed long ago");
    if (health_.is_blind(agent.source)) {
      parked_.push_back(key);
      return;
    }
    const Duration silent = silence(agent, now);
    const std::uint64_t missed = missed_beats(agent, now);
    switch (due.stimulus) {
      case Stimulus::startup_passed:
        apply(turn, agent, due.stimulus,
              fmt::format("{} has failed: it registered {} ago and never beat; its start-up grace is {}", agent.id,
                          human_duration(silent),
                          human_duration(startup_grace(registry_.policy(agent), agent.interval))));
        break;
      case Stimulus::interval_passed:
        apply(turn, agent, due.stimulus,
              fmt::format("{} is missing: silent for {}, a beat is due every {}", agent.id, human_duration(silent),
                          human_duration(agent.interval)));
        break;
      default:
        apply(turn, agent, due.stimulus,
              fmt::format("{} has failed: silent for {}, {} {} missed, one is due every {}", agent.id,
                          human_duration(silent), missed, missed == 1 ? "beat" : "beats",
                          human_duration(agent.interval)));
    }
  }
}

void Detector::on_sight(Source source) {
  std::vector<AgentKey> waiting;
  waiting.swap(parked_);
  for (const AgentKey key : waiting) {
    if (!registry_.is_used(key)) continue;
    if (registry_.at(key).source != source && health_.is_blind(registry_.at(key).source)) {
      parked_.push_back(key);
    } else if (wheel_.deadline(key) == kNever) {
      rearm(key, Instant::min());
    }
  }
}

void Detector::on_rules_changed() {
  smallest_interval_ = 30s;
  for (AgentKey key = 0; key < registry_.key_end(); ++key) {
    if (!registry_.is_used(key)) continue;
    Agent& agent = registry_.at(key);
    registry_.choose_policy(agent, false);
    smallest_interval_ = std::min(smallest_interval_, agent.interval);
    if (wheel_.deadline(key) != kNever) rearm(key, Instant::min());
  }
}

void Detector::mark_all_for_checkpoint() { dirty_chunks_.assign(registry_.key_end() / kCheckpointChunk, true); }

void Detector::checkpoint(Turn& turn) {
  Duration smallest = 30s;
  for (std::uint32_t chunk = 0; chunk < dirty_chunks_.size(); ++chunk) {
    if (!dirty_chunks_[chunk]) continue;
    dirty_chunks_[chunk] = false;
    CheckpointChunk out{.chunk = chunk, .entries = {}};
    out.entries.resize(kCheckpointChunk);
    for (AgentKey i = 0; i < kCheckpointChunk; ++i) {
      Agent& agent = registry_.at(chunk * kCheckpointChunk + i);
      if (!agent.is_used) continue;
      const Instant heard = agent.has_beaten ? agent.last_heard : agent.registered;
      out.entries[i] = {heard + health_.blind_time(agent.source, heard, turn.now.steady), to_ms(agent.last_heard_wall),
                        agent.sequence, agent.timestamp_ms};
      if (agent.is_record_dirty) turn.touched.push_back(agent.key);
      smallest = std::min(smallest, agent.interval);
    }
    turn.persist(std::move(out));
  }
  smallest_interval_ = std::min(smallest, smallest_since_checkpoint_);
  smallest_since_checkpoint_ = smallest;
}

void Detector::restore(const Now& now, const AgentRecord& record) {
  Agent& agent = registry_.restore_at(record.key, record.id);
  registry_.set_type(agent, record.type);
  registry_.choose_policy(agent, true);
  registry_.set_host(agent, record.host);
  agent.pid = record.pid;
  agent.instance_id = record.instance_id;
  agent.registered_at_ms = record.registered_at_ms.value_or(0);
  agent.started_at_ms = record.started_at_ms.value_or(0);
  agent.timestamp_ms = record.timestamp_ms.value_or(0);
  agent.sequence = record.sequence.value_or(0);
  agent.has_sequence = record.sequence.has_value();
  agent.has_own_interval = record.has_own_interval;
  // What was in force may be milder than what the file says now; the next beat brings the stricter.
  if (record.has_own_interval) agent.interval = from_ms(record.interval_ms);
  agent.interval = std::max(agent.interval, from_ms(record.interval_ms));
  agent.missed_beats_threshold =
      std::max(agent.missed_beats_threshold, static_cast<std::uint16_t>(std::min(record.missed_beats, 1000U)));
  agent.is_runner = record.is_runner;
  agent.source = record.source;
  agent.registered = record.registered;
  agent.last_heard = std::min(record.last_heard, now.steady);
  agent.last_heard_wall = record.last_heard_wall;
  agent.first_heard_wall = record.first_heard_wall;
  agent.has_beaten = record.has_beaten;
  agent.is_ended = record.is_ended;
  agent.task = record.current_task;
  agent.has_task = !record.current_task.empty();
  if (record.task_progress) agent.task_progress = static_cast<float>(*record.task_progress);
  agent.epoch = record.has_beaten || record.sequence || !record.instance_id.empty() ? 1 : 0;
  if (!record.labels.empty()) {
    const std::vector<Label> labels(record.labels.begin(), record.labels.end());
    registry_.set_labels(agent, labels);
  }
  if (!record.capsule.empty()) keep_capsule(agent, record.capsule);
  for (const PastInstance& past : record.past) agent.facts().past.push_back({past, Instant{}, 0, 0});
  agent.expects_successor = record.expects_successor;
  registry_.set_state(agent, record.state);
  agent.state_since = record.state_since;
  agent.state_since_wall =
      now.wall - std::chrono::duration_cast<std::chrono::milliseconds>(now.steady - record.state_since);
  agent.goodbye_at = record.state_since;
  agent.is_record_dirty = false;
  smallest_interval_ = std::min(smallest_interval_, agent.interval);
  rearm(agent.key, now.steady);
}

}  // namespace defib::core
