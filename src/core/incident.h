// The incidents: what is open, in which phase, waiting for what; and the newest closed ones.
//
// Pure storage with one rule of its own: phases move only along kMoves. Deciding is core/recovery's.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "core/effect.h"
#include "core/types.h"

namespace defib::core {

// Which phase may follow which; a test walks every cell.
//   opening      just opened, or a person asked for recovery: the next look decides
//   held         something stops recovery: guard, limits, journal, the policy
//   persisting   an attempt is on its way to the disk, not made yet
//   acting       the adapter is at work
//   verifying    waiting for a beat that proves it
//   backing_off  waiting before the next attempt
//   told         the ladder is at its end and a person was told
inline constexpr std::array<std::array<bool, kPhaseCount>, kPhaseCount> kMoves = {{
    // opening held persist acting verify backoff told closed
    {{true, true, true, false, true, false, true, true}},        // opening
    {{true, true, true, false, true, false, true, true}},        // held
    {{false, false, false, true, false, true, true, true}},      // persisting
    {{false, false, false, false, true, true, true, true}},      // acting
    {{false, false, false, false, true, true, true, true}},      // verifying
    {{true, true, true, false, true, false, true, true}},        // backing_off
    {{true, false, false, false, true, false, false, true}},     // told
    {{false, false, false, false, false, false, false, false}},  // closed
}};
constexpr bool is_legal_move(Phase from, Phase to) {
  return kMoves[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)];
}

// An incident with what only matters while it is open.
struct OpenIncident {
  Incident incident;
  AgentKey key = 0;
  bool is_guard = false;     // The guard's own: no agent, no ladder.
  std::uint32_t epoch = 0;   // The instance that failed; a higher one is its successor.
  std::uint32_t step = 0;    // Index into the ladder.
  std::uint32_t tries = 0;   // Of this step.
  bool is_manual = false;    // A person asked: guard, limits and mode do not hold it.
  bool has_alerted = false;  // An alert step was reached.
  bool has_told_of_journal = false;
  bool has_registered = false;     // A new life wrote its hash while the adapter was at work.
  bool has_unheard_start = false;  // A runner started a successor that nobody has heard yet: it may live.
  bool is_unknown = false;         // The pending attempt was begun before a restart of the monitor.
  bool waits_for_rules = false;    // The policy asks for nothing (more): a reload may change that.
  bool is_old_heard = false;       // The old instance beat while the adapter was at work.
  bool is_in_progress = false;     // Counts against the fleet's limit.
  Instant opened{};
  Instant acted{};  // When the adapter finished; old beats just behind it were in flight.
  Instant verify_started{};
  Instant timer = kNever;
  PersistToken token = 0;

  Attempt* pending_attempt() {
    auto& attempts = incident.attempts;
    return !attempts.empty() && attempts.back().result == AttemptResult::pending ? &attempts.back() : nullptr;
  }
};

class IncidentBook {
 public:
  explicit IncidentBook(std::size_t closed_max) : closed_max_(closed_max) {}

  // References stay valid until close().
  OpenIncident& open(Incident incident);
  OpenIncident* find(IncidentId id);
  void close(IncidentId id);  // After its phase has become `closed`.
  void restore_closed(Incident incident);

  void move(OpenIncident& open, Phase to, std::string reason);
  void set_timer(OpenIncident& open, Instant at);
  // The earliest timer's incident that is due, its timer cleared; nullptr where none is.
  OpenIncident* take_due(Instant now);
  Instant next() const { return timers_.empty() ? kNever : timers_.begin()->first; }

  std::vector<Incident> list(std::optional<bool> open, IncidentId before, std::size_t limit) const;
  std::optional<Incident> get(IncidentId id) const;
  const std::map<IncidentId, OpenIncident>& all_open() const { return open_; }
  std::map<IncidentId, OpenIncident>& all_open() { return open_; }
  IncidentId last_id = 0;

 private:
  const std::size_t closed_max_;
  std::map<IncidentId, OpenIncident> open_;
  std::map<IncidentId, Incident> closed_;
  std::set<std::pair<Instant, IncidentId>> timers_;
};

}  // namespace defib::core
