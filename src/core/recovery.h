// Walks the ladder of each open incident: one attempt at a time, journalled before it is made, believed only when a
// beat of a new instance proves it (rules of recovery 1 to 4, 7, 11 and 13).
//
// Pure. Borrows all its neighbours. Every hold, wait and end carries a reason with numbers.
#pragma once

#include <deque>
#include <map>
#include <string>

#include "base/prng.h"
#include "core/detector.h"
#include "core/event.h"
#include "core/guard.h"
#include "core/incident.h"
#include "core/notice.h"
#include "core/registry.h"
#include "core/turn.h"

namespace defib::core {

class Recovery {
 public:
  Recovery(Registry& registry, Detector& detector, Guard& guard, IncidentBook& book, Notices& notices,
           std::uint64_t seed)
      : registry_(registry), detector_(detector), guard_(guard), book_(book), notices_(notices), prng_(seed) {}

  // What happened to agents this turn, in order: opens, verifies and closes incidents.
  void take(Turn& turn);
  void on_persisted(Turn& turn, PersistToken token);
  void on_action_finished(Turn& turn, const ActionFinished& finished);
  void on_journal_state(Turn& turn, const JournalState& state);
  void on_rules_changed(Turn& turn);
  void on_wish(Turn& turn, const OperatorAsked& asked);
  // Timers, the guard, who waits for a place.
  void advance(Turn& turn);
  Instant next() const;
  // After the registry and the detector are restored.
  void restore(Turn& turn, const Snapshot& snapshot);

  bool is_journal_writable() const { return is_journal_writable_; }

 private:
  // Happenings.
  void on_changed(Turn& turn, const Happening& happening);
  void on_sighting(Turn& turn, const Happening& happening);
  void on_registered(Turn& turn, const Happening& happening);
  void on_granted_start(Turn& turn, const Happening& happening);
  void open(Turn& turn, Agent& agent, Verdict verdict, std::string evidence, std::uint32_t epoch);
  void close(Turn& turn, OpenIncident& open, std::string outcome);

  // The ladder.
  void look(Turn& turn, OpenIncident& open);
  bool is_held(Turn& turn, OpenIncident& open, const Agent& agent, const Policy& policy);
  bool has_no_place(Turn& turn, OpenIncident& open);
  void begin_attempt(Turn& turn, OpenIncident& open, const Step& step);
  void perform(Turn& turn, OpenIncident& open);
  void fail_attempt(Turn& turn, OpenIncident& open, std::string detail, bool is_step_over);
  void go_on(Turn& turn, OpenIncident& open);
  void finish_ladder(Turn& turn, OpenIncident& open, const std::string& why);
  void on_timer(Turn& turn, OpenIncident& open);
  void hold(Turn& turn, OpenIncident& open, std::string reason);
  void move(Turn& turn, OpenIncident& open, Phase to, std::string reason);
  Duration backoff(Agent& agent);

  // Budgets.
  void count_start(Turn& turn, OpenIncident& open, Agent& agent);
  void release_place(OpenIncident& open);
  void forget_old_starts(Instant now);
  std::uint32_t recoveries_within(Agent& agent, Instant now) const;
  void consider_grant(Turn& turn, Agent& agent);
  void send_grant(Turn& turn, Agent& agent);

  // People.
  void page(Turn& turn, OpenIncident& open, std::vector<std::string> channels, std::string_view severity,
            std::string action);
  void refresh_guard(Turn& turn);
  void begin_guard_incident(Turn& turn);
  void answer(Turn& turn, const OperatorAsked& asked, unsigned status, std::string code, std::string message,
              std::string hint = {}, IncidentId incident = 0);
  void wish_recover(Turn& turn, const OperatorAsked& asked);
  void wish_on_incident(Turn& turn, const OperatorAsked& asked);
  void restore_incident(Turn& turn, const Incident& incident);

  Registry& registry_;
  Detector& detector_;
  Guard& guard_;
  IncidentBook& book_;
  Notices& notices_;
  Prng prng_;
  bool is_journal_writable_ = true;
  PersistToken last_token_ = 0;
  std::map<PersistToken, IncidentId> attempt_tokens_;
  std::map<PersistToken, std::string> grant_tokens_;  // -> agent id
  std::deque<IncidentId> waiting_;                    // Held for a place in the fleet's limit, first come first served.
  std::deque<IncidentId> guarded_;                    // Held by the guard.
  std::deque<IncidentId> journal_held_;               // Held until the journal can be written.
  std::deque<Instant> fleet_starts_;                  // Of the last minute.
  std::uint32_t in_progress_ = 0;
  std::deque<Instant> failures_;  // Of the last second, so that the guard sees them together.
  IncidentId guard_incident_ = 0;
};

}  // namespace defib::core
