// The inputs: beats, hashes, exits, failures. What time does to agents is in detector_time.cc.
#include "core/detector.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/check.h"
#include "base/text.h"

namespace defib::core {
namespace {

Duration recent_for(const Agent& agent) {
  return agent.interval * agent.missed_beats_threshold + jitter_grace(agent.interval);
}

std::string instance_words(std::string_view instance_id) {
  return instance_id.empty() ? std::string("a plain client") : fmt::format("instance {}", instance_id);
}

std::string exit_words(const Exit& exit) {
  return exit.signal != 0 ? fmt::format("signal {}", exit.signal) : fmt::format("exit code {}", exit.code);
}

}  // namespace

// ---- Beats -----------------------------------------------------------------------------------------

Answer Detector::on_beat(Turn& turn, Source source, const Beat& beat) {
  Agent* agent = registry_.find(beat.agent_id);
  if (agent == nullptr) {
    if (!beat.refusal.empty()) {
      ++turn.counters.beats_refused;
      return Answer::refused;
    }
    agent = find_or_add(turn, beat.agent_id);
    if (agent == nullptr) {
      ++turn.counters.table_full;
      return Answer::table_full;
    }
  }
  const bool is_same_host = !beat.host.empty() && registry_.host(*agent) == beat.host;
  const Sender sender = classify(*agent, beat, turn.now.steady, recent_for(*agent), is_same_host);
  agent->has_candidate = sender == Sender::candidate;
  switch (sender) {
    case Sender::candidate:
      agent->candidate_sequence = *beat.sequence;
      [[fallthrough]];
    case Sender::stale:
    case Sender::ended:
      ++turn.counters.beats_stale;
      return Answer::stale;
    case Sender::fenced:
      return on_fenced(turn, *agent, beat);
    case Sender::rival:
      return on_rival(turn, *agent, source, beat);
    case Sender::successor:
      begin_life(turn, *agent, beat);
      [[fallthrough]];
    case Sender::current:
      hear(turn, *agent, source, beat);
      break;
  }
  if (beat.refusal.empty()) {
    ++turn.counters.beats_accepted;
    return Answer::accepted;
  }
  ++turn.counters.beats_refused;
  return Answer::refused;
}

// A beat of the current instance. A refused one proves life and changes nothing else (rule 10).
void Detector::hear(Turn& turn, Agent& agent, Source source, const Beat& beat) {
  const bool says_goodbye = beat.status == Status::stopped && beat.refusal.empty();
  const bool was_in_flight = agent.state == State::stopped && agent.has_beaten && !beat.exit &&
                             turn.now.steady < agent.goodbye_at + agent.interval + jitter_grace(agent.interval);
  if (beat.sequence) {
    agent.sequence = *beat.sequence;
    agent.has_sequence = true;
  }
  if (was_in_flight) return;

  const Duration silence_before = agent.has_beaten ? turn.now.steady - agent.last_heard : Duration{0};
  const bool is_first = !agent.has_beaten;
  if (!beat.exit) agent.is_ended = false;
  agent.last_heard = turn.now.steady;
  agent.last_heard_wall = turn.now.wall;
  agent.has_beaten = true;
  agent.source = source;
  const std::size_t chunk = agent.key / kCheckpointChunk;
  if (chunk >= dirty_chunks_.size()) dirty_chunks_.resize(chunk + 1);
  dirty_chunks_[chunk] = true;

  if (beat.refusal.empty()) {
    // Whoever registered goes on by its own number: it was no new life.
    const bool is_registrant = (beat.connection != 0 && beat.connection == agent.connection) ||
                               (beat.timestamp_ms && *beat.timestamp_ms >= agent.registered_at_ms);
    if (is_registrant) agent.is_registration_new = false;
    if (beat.connection != 0) agent.connection = beat.connection;
    if (beat.timestamp_ms) agent.timestamp_ms = *beat.timestamp_ms;
    take_details(turn, agent, beat);
    if (beat.exit) return take_exit(turn, agent, *beat.exit);
    if (says_goodbye) return say_goodbye(turn, agent, fmt::format("{} said goodbye", agent.id));
  }
  const State before = agent.state;
  if (before == State::healthy) {
    // The hot path: nothing changes but the clock, and the wheel is re-armed when it fires.
    if (agent.incident != 0) tell(turn, agent, Happening::Kind::heard, {});
    if (wheel_.deadline(agent.key) > turn.now.steady + agent.interval + jitter_grace(agent.interval)) {
      rearm(agent.key, turn.now.steady);
    }
    return;
  }
  apply(turn, agent, Stimulus::beat,
        is_first ? fmt::format("{} beats: the first beat of {}", agent.id, instance_words(agent.instance_id))
                 : fmt::format("{} beats again after {} of silence", agent.id, human_duration(silence_before)));
}

void Detector::take_details(Turn& turn, Agent& agent, const Beat& beat) {
  if (!beat.agent_type.empty() && registry_.type(agent) != beat.agent_type) {
    registry_.set_type(agent, beat.agent_type);
    registry_.choose_policy(agent, true);
  }
  if (!beat.host.empty()) registry_.set_host(agent, beat.host);
  if (beat.pid != 0) agent.pid = beat.pid;
  const Policy& policy = registry_.policy(agent);
  const Duration interval = beat.interval_ms ? from_ms(*beat.interval_ms) : policy.interval;
  const auto threshold = static_cast<std::uint16_t>(policy.missed_beats);
  // A restart of the monitor must judge by what is in force now.
  if (interval != agent.interval || threshold != agent.missed_beats_threshold) turn.touched.push_back(agent.key);
  agent.has_own_interval = beat.interval_ms.has_value();
  agent.interval = interval;
  agent.missed_beats_threshold = threshold;
  smallest_interval_ = std::min(smallest_interval_, agent.interval);
  agent.status = beat.status;
  agent.is_runner = beat.is_runner;
  if (beat.started_at_ms) agent.started_at_ms = *beat.started_at_ms;
  if (beat.metrics) {
    const Metrics& m = *beat.metrics;
    agent.metrics = FloatMetrics{static_cast<float>(m.cpu_percent),           static_cast<float>(m.memory_mb),
                                 static_cast<float>(m.active_tasks),          static_cast<float>(m.queue_depth),
                                 static_cast<float>(m.tokens_used_this_hour), static_cast<float>(m.errors_last_5_min)};
  }
  const std::string_view task = beat.current_task.value_or(std::string_view{});
  if (agent.task != task) {
    agent.task = task;
    agent.is_record_dirty = true;
  }
  agent.has_task = beat.current_task.has_value();
  agent.task_progress = beat.task_progress ? static_cast<float>(*beat.task_progress) : -1;
  const bool has_rare = beat.activity || beat.progress || !beat.capsule.empty() || !beat.labels.empty();
  if (!has_rare && !agent.rare) return;
  RareFacts& facts = agent.facts();
  if (!beat.labels.empty()) registry_.set_labels(agent, beat.labels);
  facts.has_activity = beat.activity.has_value();
  if (beat.activity) {
    facts.activity = beat.activity->kind;
    facts.activity_operation = beat.activity->operation;
  }
  if (beat.progress) {
    facts.progress_seq = beat.progress->seq;
    facts.progress_action = beat.progress->action;
  }
  if (!beat.capsule.empty() && facts.capsule != beat.capsule) keep_capsule(agent, beat.capsule);
}

// Past the fleet's bound a new capsule is not kept; the old one would hand over what is no longer true.
void Detector::keep_capsule(Agent& agent, std::string_view capsule) {
  std::string& kept = agent.facts().capsule;
  capsule_bytes_ -= kept.size();
  const bool has_room = capsule_bytes_ + capsule.size() <= registry_.rules().bounds.capsule_bytes;
  kept = has_room ? capsule : std::string_view{};
  capsule_bytes_ += kept.size();
  agent.is_record_dirty = true;
}

// ---- Instances -------------------------------------------------------------------------------------

void Detector::retire_current(Agent& agent, bool is_fenced) {
  if (agent.instance_id.empty() && !agent.has_sequence) return;
  std::vector<PastLife>& past = agent.facts().past;
  if (past.size() >= kPastLivesMax) {
    past.erase(std::min_element(past.begin(), past.end(),
                                [](const PastLife& a, const PastLife& b) { return a.last_heard < b.last_heard; }));
  }
  past.push_back(
      {{agent.instance_id, agent.sequence, is_fenced}, agent.last_heard, agent.connection, agent.timestamp_ms});
}

void Detector::begin_life(Turn& turn, Agent& agent, const Beat& beat) {
  const bool had_life = agent.epoch > 0;
  const std::string before = instance_words(agent.instance_id);
  // A fenced instance stands among the past ones already.
  if (!agent.expects_successor) retire_current(agent, false);
  agent.instance_id = beat.instance_id;
  agent.has_sequence = false;
  agent.sequence = 0;
  agent.timestamp_ms = 0;
  agent.started_at_ms = 0;
  agent.first_heard_wall = turn.now.wall;
  agent.is_ended = false;
  agent.expects_successor = false;
  agent.is_registration_new = false;
  agent.has_candidate = false;
  ++agent.epoch;
  if (agent.rare) agent.rare->output_tail.clear();
  if (agent.state == State::stopped) {
    agent.has_beaten = false;
    agent.registered = turn.now.steady;
    apply(turn, agent, Stimulus::registered, fmt::format("{} starts anew after its goodbye", agent.id));
  }
  turn.touched.push_back(agent.key);
  if (!had_life) {
    if (beat.is_runner) tell(turn, agent, Happening::Kind::new_life, {});
    return;
  }
  std::string text = agent.instance_id.empty() ? fmt::format("{} was restarted", agent.id)
                                               : fmt::format("{} was restarted: {} follows {}", agent.id,
                                                             instance_words(agent.instance_id), before);
  turn.announce(EventKind::agent, agent.id, agent.incident, "restarted", text);
  tell(turn, agent, Happening::Kind::new_life, std::move(text));
}

Answer Detector::on_rival(Turn& turn, Agent& agent, Source source, const Beat& beat) {
  PastLife* life = past_life_of(agent, beat);
  DEFIB_CHECK(life != nullptr);
  std::vector<PastLife>& past = agent.facts().past;
  if (!beat.refusal.empty()) {
    ++turn.counters.beats_refused;
    return Answer::refused;
  }
  if (beat.sequence) life->instance.sequence = *beat.sequence;
  // Its number must outlive a restart, else its old beats would be news then.
  agent.is_record_dirty = true;
  ++turn.counters.beats_accepted;
  if (beat.status == Status::stopped || beat.exit) {
    turn.announce(EventKind::agent, agent.id, agent.incident, "old_instance_ended",
                  fmt::format("{} of {} has ended; {} goes on", instance_words(beat.instance_id), agent.id,
                              instance_words(agent.instance_id)));
    agent.facts().conflict_until = Instant{};
    return Answer::accepted;
  }
  life->last_heard = turn.now.steady;
  if (beat.connection != 0) life->connection = beat.connection;
  if (beat.activity && beat.activity->kind == ActivityKind::draining) return Answer::accepted;

  const bool is_current_gone = agent.is_ended || agent.expects_successor || agent.state == State::missing ||
                               agent.state == State::failed || agent.state == State::stopped;
  if (is_current_gone) {
    // The newer instance has gone and the older one lives: it is the agent again. The epoch stays, since
    // this is no restart.
    const PastLife old = *life;
    past.erase(past.begin() + (life - past.data()));
    if (!agent.expects_successor) retire_current(agent, false);
    agent.expects_successor = false;
    agent.instance_id = old.instance.instance_id;
    agent.is_ended = false;
    // What it said goodbye to was the newer one: this beat is not in flight behind it.
    agent.goodbye_at = Instant(Duration::min() / 2);
    agent.timestamp_ms = 0;
    turn.touched.push_back(agent.key);
    hear(turn, agent, source, beat);
    return Answer::accepted;
  }
  const bool is_new_conflict = agent.facts().conflict_until <= turn.now.steady;
  agent.facts().conflict_until = turn.now.steady + recent_for(agent);
  if (is_new_conflict &&
      (agent.facts().conflict_told == Instant{} || turn.now.steady - agent.facts().conflict_told > recent_for(agent))) {
    agent.facts().conflict_told = turn.now.steady;
    std::string text =
        fmt::format("two instances beat as {} at once: {} and {}; stop one of them or give it another id", agent.id,
                    instance_words(agent.instance_id), instance_words(beat.instance_id));
    turn.announce(EventKind::agent, agent.id, agent.incident, "conflict", text);
    tell(turn, agent, Happening::Kind::conflict, std::move(text));
  }
  return Answer::accepted;
}

Answer Detector::on_fenced(Turn& turn, Agent& agent, const Beat& beat) {
  ++turn.counters.beats_fenced;
  PastLife* life = past_life_of(agent, beat);
  DEFIB_CHECK(life != nullptr);
  if (beat.sequence && *beat.sequence > life->instance.sequence) life->instance.sequence = *beat.sequence;
  life->last_heard = turn.now.steady;
  RareFacts& facts = agent.facts();
  // Told at most every ten seconds; a plain client has no name to be told by, -FENCED must do.
  if (turn.now.steady - facts.last_fence_sent < 10s && facts.last_fence_sent != Instant{}) return Answer::fenced;
  facts.last_fence_sent = turn.now.steady;
  turn.announce(EventKind::agent, agent.id, agent.incident, "fenced",
                fmt::format("{} of {} was replaced and still beats: it is told to stop, and its beats do not count",
                            instance_words(beat.instance_id), agent.id));
  if (!beat.instance_id.empty()) {
    turn.effects.list.emplace_back(SendCommand{.id = command_id(turn.last_event),
                                               .command = "fence",
                                               .agent_id = agent.id,
                                               .instance_id = std::string(beat.instance_id),
                                               .reason = "this instance was replaced"});
  }
  return Answer::fenced;
}

void Detector::fence(AgentKey key) {
  Agent& agent = registry_.at(key);
  if (agent.expects_successor) return;
  retire_current(agent, true);
  agent.expects_successor = true;
  agent.is_registration_new = false;
  if (agent.rare) agent.rare->last_fence_sent = Instant{};
}

void Detector::undo_fence(AgentKey key) {
  Agent& agent = registry_.at(key);
  if (!agent.expects_successor) return;
  agent.expects_successor = false;
  std::vector<PastLife>& past = agent.facts().past;
  if (!past.empty() && past.back().instance.is_fenced && past.back().instance.instance_id == agent.instance_id) {
    past.pop_back();
  }
}

// ---- Hashes, goodbyes, exits -----------------------------------------------------------------------

void Detector::on_record(Turn& turn, const RecordWritten& record) {
  Agent* agent = registry_.find(record.agent_id);
  const bool is_goodbye = record.stopped_at_ms.has_value();
  if (agent == nullptr) {
    // Only a registration makes an agent; a hash that says both has come and gone before our time.
    if (!record.registered_at_ms || (is_goodbye && *record.stopped_at_ms >= *record.registered_at_ms)) return;
    agent = find_or_add(turn, record.agent_id);
    if (agent == nullptr) {
      ++turn.counters.table_full;
      return;
    }
    agent->source = record.source;
    begin_registered_life(turn, *agent, record);
  } else if (record.registered_at_ms) {
    const bool is_known = agent->registered_at_ms == *record.registered_at_ms &&
                          (record.pid == 0 || agent->pid == 0 || record.pid == agent->pid);
    // A hash that is read back, or that its own process wrote before it beat, tells of the life that was heard.
    const bool is_same_process = record.pid != 0 && record.pid == agent->pid && record.host == registry_.host(*agent);
    const bool has_beaten_since = agent->timestamp_ms != 0 ? agent->timestamp_ms >= *record.registered_at_ms
                                                           : record.source == Source::redis && is_same_process;
    const bool is_read_back = record.source == Source::redis && (agent->registered_at_ms == 0 || has_beaten_since);
    const bool is_adopted = agent->has_beaten && (is_read_back || (is_same_process && has_beaten_since));
    if (is_adopted) agent->registered_at_ms = *record.registered_at_ms;
    if (!is_known && !is_adopted) begin_registered_life(turn, *agent, record);
  }
  if (!is_goodbye || *record.stopped_at_ms == agent->stopped_at_ms) return;
  // It was seen to exit, and judged by that: the goodbye that its runner writes as well adds nothing.
  if (agent->is_ended) return;
  // The goodbye of an older instance, known by its connection, is not the agent's.
  const bool is_of_the_past = record.connection != 0 && record.connection != agent->connection && agent->rare &&
                              std::any_of(agent->rare->past.begin(), agent->rare->past.end(),
                                          [&](const PastLife& life) { return life.connection == record.connection; });
  if (is_of_the_past) return;
  if (agent->registered_at_ms != 0 && *record.stopped_at_ms < agent->registered_at_ms) return;
  agent->stopped_at_ms = *record.stopped_at_ms;
  say_goodbye(turn, *agent, fmt::format("{} said goodbye in its hash", agent->id));
}

void Detector::begin_registered_life(Turn& turn, Agent& agent, const RecordWritten& record) {
  if (record.registered_at_ms) agent.registered_at_ms = *record.registered_at_ms;
  if (record.pid != 0) agent.pid = record.pid;
  if (record.connection != 0) agent.connection = record.connection;
  if (!record.host.empty()) registry_.set_host(agent, record.host);
  if (!record.type.empty() && registry_.type(agent) != record.type) {
    registry_.set_type(agent, record.type);
    registry_.choose_policy(agent, true);
  }
  agent.is_registration_new = agent.epoch > 0;
  const bool is_waiting = agent.state == State::starting && agent.registered != Instant{};
  // A crash loop that registers again and again without a beat does not renew its grace.
  if (!is_waiting) agent.registered = turn.now.steady;
  if (agent.state != State::failed) agent.has_beaten = false;
  turn.touched.push_back(agent.key);
  tell(turn, agent, Happening::Kind::registered, {});
  const bool is_announced = agent.epoch == 0 && !is_waiting;
  apply(turn, agent, Stimulus::registered,
        fmt::format("{} registered{}; its first beat is due within {}", agent.id, agent.epoch > 0 ? " anew" : "",
                    human_duration(startup_grace(registry_.policy(agent), agent.interval))));
  if (is_announced && agent.state == State::starting) {
    turn.announce(EventKind::agent, agent.id, 0, "registered", fmt::format("{} registered", agent.id));
  }
}

void Detector::say_goodbye(Turn& turn, Agent& agent, const std::string& text) {
  agent.goodbye_at = turn.now.steady;
  apply(turn, agent, Stimulus::goodbye, text);
}

void Detector::take_exit(Turn& turn, Agent& agent, const Exit& exit) {
  agent.is_ended = true;
  RareFacts& facts = agent.facts();
  facts.exit_text = exit_words(exit);
  facts.output_tail = exit.output_tail;
  const bool is_clean = exit.code == 0 && exit.signal == 0 && registry_.policy(agent).exit_zero == State::stopped;
  if (is_clean) {
    agent.goodbye_at = turn.now.steady;
    return apply(turn, agent, Stimulus::exited_clean, fmt::format("{} ended with exit code 0", agent.id));
  }
  const bool had_failed = agent.state == State::failed;
  std::string_view last_line = exit.output_tail;
  while (!last_line.empty() && last_line.back() == '\n') last_line.remove_suffix(1);
  if (const std::size_t line = last_line.rfind('\n'); line != std::string_view::npos) last_line.remove_prefix(line + 1);
  std::string text = fmt::format("{} ended with {}", agent.id, facts.exit_text);
  if (!last_line.empty()) text += fmt::format("; its last line was \"{}\"", clip(last_line, 200));
  apply(turn, agent, Stimulus::exited_bad, text);
  if (had_failed) tell(turn, agent, Happening::Kind::ended_again, text);
  if (exit.is_restarted) {
    facts.grant.spent = std::max(facts.grant.spent, exit.spent);
    tell(turn, agent, Happening::Kind::granted_start, std::move(text));
  }
}

void Detector::on_failure_reported(Turn& turn, const FailureReported& report) {
  Agent* agent = find_or_add(turn, report.agent_id);
  if (agent == nullptr) {
    ++turn.counters.table_full;
    return;
  }
  agent->source = report.source;
  if (agent->state == State::stopped) {
    apply(turn, *agent, Stimulus::registered, fmt::format("{} is heard again after its goodbye", agent->id));
  }
  agent->last_heard = turn.now.steady;
  agent->last_heard_wall = turn.now.wall;
  agent->has_beaten = true;
  if (agent->epoch == 0) agent->first_heard_wall = turn.now.wall;
  apply(
      turn, *agent, Stimulus::failure_reported,
      fmt::format("{} reported a failure{}{}", agent->id, report.detail.empty() ? "" : ": ", clip(report.detail, 300)));
}

void Detector::on_deregistered(Turn& turn, std::string_view id) {
  if (Agent* agent = registry_.find(id)) forget(turn, *agent, "deregistered");
}

// ---- Table and state -------------------------------------------------------------------------------

Agent* Detector::find_or_add(Turn& turn, std::string_view id) {
  if (Agent* agent = registry_.find(id)) return agent;
  // More than one may have to leave: a reload can lower the bound.
  while (registry_.is_full()) {
    // Whoever left in this very turn may still get an incident.
    if (gone_.empty() || gone_.begin()->first >= turn.now.steady) return nullptr;
    forget(turn, registry_.at(gone_.begin()->second), "the table is full, and it was gone longest");
  }
  Agent& agent = registry_.add(id);
  agent.state_since = turn.now.steady;
  agent.state_since_wall = turn.now.wall;
  smallest_interval_ = std::min(smallest_interval_, agent.interval);
  return &agent;
}

void Detector::forget(Turn& turn, Agent& agent, std::string_view reason) {
  turn.announce(EventKind::agent, agent.id, agent.incident, "forgotten",
                fmt::format("{} left the table: {}", agent.id, reason));
  turn.persist(AgentForgotten{agent.key, agent.id});
  Happening happening{
      .kind = Happening::Kind::removed, .key = agent.key, .from = agent.state, .text = std::string(reason)};
  happening.incident = agent.incident;
  // Its key may be another agent's before the turn is over. Who leaves by time alone has nothing else this turn, and
  // a million may leave at once.
  if (agent.state_since >= turn.now.steady || agent.last_heard >= turn.now.steady || agent.incident != 0) {
    std::erase_if(turn.happenings, [&](const Happening& earlier) { return earlier.key == agent.key; });
    std::erase(turn.touched, agent.key);
  }
  if (agent.rare) capsule_bytes_ -= agent.rare->capsule.size();
  turn.happenings.push_back(std::move(happening));
  unlist(agent);
  wheel_.disarm(agent.key);
  registry_.remove(agent.key);
}

void Detector::tell(Turn& turn, const Agent& agent, Happening::Kind kind, std::string text) {
  turn.happenings.push_back({.kind = kind,
                             .key = agent.key,
                             .from = agent.state,
                             .to = agent.state,
                             .epoch = agent.epoch,
                             .has_identity = agent.has_sequence || !agent.instance_id.empty(),
                             .is_conflict = agent.rare && agent.rare->conflict_until > turn.now.steady,
                             .text = std::move(text),
                             .incident = agent.incident});
}

void Detector::apply(Turn& turn, Agent& agent, Stimulus stimulus, const std::string& text) {
  const State from = agent.state;
  const State to = next_state(from, stimulus);
  // A new failure of an agent whose incident a person has closed is news, though the state stays.
  const bool fails_anew = from == State::failed && to == State::failed && agent.incident == 0 &&
                          (stimulus == Stimulus::failure_reported || stimulus == Stimulus::exited_bad);
  if (from == to && !fails_anew) {
    if (stimulus == Stimulus::beat && agent.incident != 0) tell(turn, agent, Happening::Kind::heard, text);
    rearm(agent.key, turn.now.steady);
    return;
  }
  unlist(agent);
  registry_.set_state(agent, to);
  agent.state_since = turn.now.steady;
  agent.state_since_wall = turn.now.wall;
  turn.touched.push_back(agent.key);
  turn.announce(EventKind::agent, agent.id, agent.incident, name(to), text);
  tell(turn, agent, Happening::Kind::changed, text);
  Happening& happening = turn.happenings.back();
  happening.from = from;
  happening.cause = stimulus;
  rearm(agent.key, turn.now.steady);
}

}  // namespace defib::core
