// Decides from beats, hashes, exits and silence which state each agent is in.
//
// Pure: no clock, no IO; the turn carries the time, which never decreases. Borrows registry and self-health.
// Deadlines live in a wheel and are re-armed lazily: a beat costs a look-up and a few stores; when a
// deadline fires too early by now, it is armed again. Invariant: an agent that can still change by time alone has
// exactly one deadline, unless its source is blind: then it waits in `parked_` until the source sees again.
#pragma once

#include <set>
#include <utility>
#include <vector>

#include "core/event.h"
#include "core/identity.h"
#include "core/registry.h"
#include "core/self_health.h"
#include "core/timer_wheel.h"
#include "core/turn.h"

namespace defib::core {

class Detector {
 public:
  Detector(Registry& registry, SelfHealth& health) : registry_(registry), health_(health) {}

  // ---- Inputs -------------------------------------------------------------------------------------
  Answer on_beat(Turn& turn, Source source, const Beat& beat);
  void on_record(Turn& turn, const RecordWritten& record);
  void on_failure_reported(Turn& turn, const FailureReported& report);
  void on_deregistered(Turn& turn, std::string_view id);
  // The source sees again: whoever's deadline came meanwhile is looked at anew.
  void on_sight(Source source);
  // After a reload: more lenient rules hold at once, stricter ones from the next beat.
  void on_rules_changed();
  // Takes an agent back from the journal.
  void restore(const Now& now, const AgentRecord& record);

  // Fires what is due. Call after all inputs of the turn.
  void settle(Turn& turn);
  Instant next() const { return wheel_.next(); }
  // The shortest interval in force; the smallest grace follows from it.
  Duration smallest_interval() const { return smallest_interval_; }

  // From now on the current instance is a replaced one; `undo_fence` where the replacement never started.
  void fence(AgentKey key);
  void undo_fence(AgentKey key);
  // An agent whose incident has closed may leave the table after a while.
  void rearm(AgentKey key, Instant now);

  // When the agent will change by time alone, and to what; kNever where only an event can change it.
  struct Deadline {
    Instant at = kNever;
    Stimulus stimulus = Stimulus::interval_passed;
    bool is_departure = false;  // Not a stimulus: the agent leaves the table.
  };
  Deadline deadline(const Agent& agent) const;
  // Silence of unblinded time since the last beat (or registration).
  Duration silence(const Agent& agent, Instant now) const;
  std::uint64_t missed_beats(const Agent& agent, Instant now) const;

  // Appends the checkpoint chunks in which anyone was heard since the last call, and the keys whose
  // journal record is out of date.
  void checkpoint(Turn& turn);
  // After blindness worth telling: what it moved must outlive a restart.
  void mark_all_for_checkpoint();

 private:
  Agent* find_or_add(Turn& turn, std::string_view id);
  void apply(Turn& turn, Agent& agent, Stimulus stimulus, const std::string& text);
  void tell(Turn& turn, const Agent& agent, Happening::Kind kind, std::string text);
  void hear(Turn& turn, Agent& agent, Source source, const Beat& beat);
  void take_details(Turn& turn, Agent& agent, const Beat& beat);
  void take_exit(Turn& turn, Agent& agent, const Exit& exit);
  void begin_life(Turn& turn, Agent& agent, const Beat& beat);
  void retire_current(Agent& agent, bool is_fenced);
  Answer on_rival(Turn& turn, Agent& agent, Source source, const Beat& beat);
  Answer on_fenced(Turn& turn, Agent& agent, const Beat& beat);
  void say_goodbye(Turn& turn, Agent& agent, const std::string& text);
  void begin_registered_life(Turn& turn, Agent& agent, const RecordWritten& record);
  void on_deadline(Turn& turn, AgentKey key);
  void forget(Turn& turn, Agent& agent, std::string_view reason);
  void keep_capsule(Agent& agent, std::string_view capsule);
  void list_if_gone(Agent& agent);
  void unlist(Agent& agent);

  Registry& registry_;
  SelfHealth& health_;
  TimerWheel wheel_;
  std::vector<TimerWheel::Key> due_;
  std::vector<AgentKey> parked_;
  std::vector<bool> dirty_chunks_;
  std::set<std::pair<Instant, AgentKey>> gone_;  // Who may leave, longest gone first.
  // Of all heard since the last checkpoint but one, so that an agent that has gone does not count for ever.
  Duration smallest_interval_ = 30s;
  Duration smallest_since_checkpoint_ = 30s;
  std::size_t capsule_bytes_ = 0;  // Over the fleet; Bounds::capsule_bytes at most.
};

}  // namespace defib::core
