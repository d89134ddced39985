// One step, in the order of the product: self-health, registry and detector, incidents and recovery, notices.
#include "core/engine.h"

#include <algorithm>
#include <type_traits>

#include "base/check.h"
#include "core/engine_rooms.h"

namespace defib::core {
namespace {

constexpr Duration kCheckpointEvery = 10s;

}  // namespace

Engine::Rooms::Rooms(Rules initial, std::uint64_t seed)
    : rules(std::move(initial)),
      registry(rules),
      detector(registry, health),
      guard(registry),
      book(rules.bounds.closed_incidents),
      notices(rules),
      recovery(registry, detector, guard, book, notices, seed) {}

Engine::Engine(Rules rules, std::uint64_t seed) : rooms_(std::make_unique<Rooms>(std::move(rules), seed)) {}
Engine::~Engine() = default;

void Engine::step(const Now& now, std::span<const Event> events, Effects& effects) {
  Rooms& rooms = *rooms_;
  effects.clear();
  DEFIB_CHECK(now.steady >= rooms.last_step || !rooms.has_stepped);
  Turn turn{.now = now, .effects = effects, .counters = rooms.counters, .last_event = rooms.last_event};

  rooms.notice_gap(turn);
  effects.answers.reserve(events.size());
  for (const Event& event : events) {
    effects.answers.push_back(std::visit([&](const auto& e) { return rooms.take(turn, e); }, event));
  }
  rooms.detector.settle(turn);
  rooms.flush_records(turn);
  rooms.recovery.take(turn);
  rooms.recovery.advance(turn);
  rooms.notices.advance(turn);
  if (now.steady >= rooms.next_checkpoint) {
    rooms.next_checkpoint = now.steady + kCheckpointEvery;
    rooms.detector.checkpoint(turn);
  }
  rooms.flush_records(turn);
}

void Engine::finish(const Now& now, Effects& effects) {
  rooms_->next_checkpoint = now.steady;
  step(now, {}, effects);
}

Instant Engine::next_wakeup() const {
  const Rooms& rooms = *rooms_;
  const Instant tick = rooms.last_step + gap_allowed(rooms.detector.smallest_interval()) / 2;
  return std::min({tick, rooms.detector.next(), rooms.recovery.next(), rooms.notices.next(), rooms.next_checkpoint});
}

// The loop was not turning: whatever was sent meanwhile waits in a buffer, or is lost (rule of judgement 6).
void Engine::Rooms::notice_gap(Turn& turn) {
  const Instant before = last_step;
  last_step = turn.now.steady;
  if (!has_stepped) {
    has_stepped = true;
    next_checkpoint = turn.now.steady + kCheckpointEvery;
    return;
  }
  const Duration gap = turn.now.steady - before;
  if (gap <= gap_allowed(detector.smallest_interval())) return;
  health.add_gap(before, turn.now.steady);
  ++counters.blind_spells;
  // Short ones are told by the counter alone.
  if (gap >= 1s) {
    detector.mark_all_for_checkpoint();
    turn.announce(EventKind::monitor, "", 0, "gap",
                  "I was not running for " + human_duration(gap) + ": nobody is judged by that time");
  }
}

// Journal records of whoever changed, each once.
void Engine::Rooms::flush_records(Turn& turn) {
  std::sort(turn.touched.begin(), turn.touched.end());
  turn.touched.erase(std::unique(turn.touched.begin(), turn.touched.end()), turn.touched.end());
  for (const AgentKey key : turn.touched) {
    if (!registry.is_used(key)) continue;
    registry.at(key).is_record_dirty = false;
    turn.persist(registry.record(registry.at(key)));
  }
  turn.touched.clear();
}

Answer Engine::Rooms::take(Turn& turn, const BeatReceived& e) { return detector.on_beat(turn, e.source, e.beat); }

Answer Engine::Rooms::take(Turn& turn, const RecordWritten& e) {
  detector.on_record(turn, e);
  return Answer::accepted;
}

Answer Engine::Rooms::take(Turn& turn, const Deregistered& e) {
  detector.on_deregistered(turn, e.agent_id);
  return Answer::accepted;
}

Answer Engine::Rooms::take(Turn& turn, const FailureReported& e) {
  const bool is_known = registry.find(e.agent_id) != nullptr || !registry.is_full();
  detector.on_failure_reported(turn, e);
  return is_known ? Answer::accepted : Answer::table_full;
}

Answer Engine::Rooms::take(Turn& turn, const SourceBlind& e) {
  if (!health.is_blind(e.source)) {
    ++counters.blind_spells;
    turn.announce(EventKind::monitor, "", 0, "blind",
                  "I am blind on " + std::string(name(e.source)) + ": " + std::string(e.reason) +
                      "; nobody heard there is judged until I see again");
  }
  health.go_blind(e.source, std::min(e.since, turn.now.steady), e.reason);
  return Answer::accepted;
}

Answer Engine::Rooms::take(Turn& turn, const SourceSighted& e) {
  if (health.see_again(e.source, turn.now.steady, e.is_restarted)) {
    detector.mark_all_for_checkpoint();
    turn.announce(EventKind::monitor, "", 0, "sighted", "I see again on " + std::string(name(e.source)));
  }
  detector.on_sight(e.source);
  return Answer::accepted;
}

Answer Engine::Rooms::take(Turn& turn, const ActionFinished& e) {
  recovery.on_action_finished(turn, e);
  return Answer::accepted;
}

Answer Engine::Rooms::take(Turn& turn, const Persisted& e) {
  recovery.on_persisted(turn, e.token);
  return Answer::accepted;
}

Answer Engine::Rooms::take(Turn& turn, const JournalState& e) {
  recovery.on_journal_state(turn, e);
  return Answer::accepted;
}

Answer Engine::Rooms::take(Turn& turn, const Delivered& e) {
  notices.on_delivered(turn, e);
  return Answer::accepted;
}

Answer Engine::Rooms::take(Turn& turn, const OperatorAsked& e) {
  recovery.on_wish(turn, e);
  return Answer::accepted;
}

Answer Engine::Rooms::take(Turn& turn, const RulesChanged& e) {
  DEFIB_CHECK(e.rules != nullptr);
  rules = *e.rules;
  detector.on_rules_changed();
  recovery.on_rules_changed(turn);
  turn.announce(EventKind::monitor, "", 0, "rules_changed", "the configuration was read anew");
  return Answer::accepted;
}

Answer Engine::Rooms::take(Turn& turn, const Restored& e) {
  DEFIB_CHECK(e.snapshot != nullptr && registry.size() == 0);
  const Snapshot& snapshot = *e.snapshot;
  last_event = snapshot.last_event;
  for (const AgentRecord& record : snapshot.agents) detector.restore(turn.now, record);
  registry.finish_restoring();
  if (!snapshot.is_first_start && snapshot.known_until < turn.now.steady) {
    health.add_gap(snapshot.known_until, turn.now.steady);
    detector.mark_all_for_checkpoint();
    next_checkpoint = turn.now.steady;
    ++counters.blind_spells;
    turn.announce(EventKind::monitor, "", 0, "restarted",
                  "I am back after " + human_duration(turn.now.steady - snapshot.known_until) + " with " +
                      std::to_string(snapshot.agents.size()) + " agents; nobody is judged by that time");
  }
  notices.last_id = snapshot.last_notice;
  recovery.restore(turn, snapshot);
  notices.restore(turn, snapshot.notices, book.all_open());
  return Answer::accepted;
}

}  // namespace defib::core
