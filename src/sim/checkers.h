// The promises, held against the truth. The world tells the checkers what the monitor heard and what came
// out of it; the first broken promise is kept, with its numbers.
//
// Their knowledge is their own: deadlines are computed from what was delivered and accepted, not asked of
// the engine. Where the world can't say exactly (when a spell of blindness began, what a crash lost),
// each bound takes the side that does not accuse.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/effect.h"
#include "core/policy.h"
#include "sim/fleet.h"
#include "sim/journal.h"
#include "sim/message.h"

namespace defib::sim {

// Rounding of a deadline in the accused's favour.
inline constexpr Duration kTolerance = 1ms;

struct Violation {
  std::string promise;  // "no living agent is recovered"
  std::string text;     // Who, when, with the numbers.
};

// What one run was like, for the table at the end.
struct Tally {
  std::uint64_t beats = 0;
  std::uint64_t deaths = 0;
  std::uint64_t verdicts = 0;  // Silence or report became `failed`.
  std::uint64_t attempts = 0;
  std::uint64_t recoveries = 0;  // Verified.
  std::uint64_t notices = 0;
  std::uint64_t faults = 0;
  std::uint64_t unheard = 0;  // Failed though alive, since the channel lost every beat.
  std::uint64_t incidents = 0;
  std::uint64_t effects_hash = 0;
  std::vector<std::int64_t> lateness_us;  // Of verdicts of silence behind their exact deadline.
};

// When a source heard nothing, by what is certain and by what is possible.
class BlindLog {
 public:
  void add(Instant begin, Instant end);
  Duration within(Instant from, Instant to) const;
  // The end of the last spell that lasted longer than `shortest` and ended after `from`; nothing where none.
  std::optional<Instant> last_end(Instant from, Duration shortest) const;

 private:
  struct Spell {
    Instant begin{};
    Instant end{};
  };
  static constexpr std::size_t kSpellsMax = 512;
  std::deque<Spell> spells_;
};

class Checkers {
 public:
  // Borrows both.
  Checkers(const Fleet& fleet, const core::Rules& rules);

  // ---- What the monitor could hear.
  void on_pause(Instant last_step, Instant was_due, Instant now);
  // After a restart: what the journal did not know is forgotten. `lost` are agents whose last record was.
  void on_restart(Instant known_until, Instant now, const Journal& journal, const std::vector<std::string>& lost);
  void on_blind(core::Source source, Instant since, Instant now);
  void on_sight(core::Source source, Instant now, bool is_restarted);
  // Two processes under one id, or another mess in which no promise is exact, until then.
  void on_confusion(std::uint32_t agent, Instant until);

  // ---- What it heard, and what it made of it; in this order within a step.
  void on_answer(Instant now, const Message& message, core::Answer answer);
  void on_persisted(core::PersistToken token);
  void on_action_end(core::IncidentId incident, std::uint32_t attempt);
  void on_delivered(core::NoticeId notice);
  void on_manual_recovery(std::string_view agent_id);
  void on_effect(Instant now, const core::Effect& effect);
  void after_step(Instant now);

  // ---- What must have happened by now.
  // When an agent must have been found, kNever where nothing is due.
  Instant must_be_found_by(std::uint32_t agent, Instant now) const;
  void check_found(std::uint32_t agent, Instant now);
  // Everything that has been open for long must have been told to a person.
  void audit(Instant now);

  const std::optional<Violation>& violation() const { return violation_; }
  core::State believed(std::uint32_t agent) const { return watches_[agent].believed; }
  core::IncidentId open_incident(std::uint32_t agent) const { return watches_[agent].open; }
  Tally& tally() { return tally_; }

 private:
  // All that the checkers know of one agent. `early` and `late` bound what the monitor can know.
  struct Watch {
    bool is_known = false;
    core::State believed = core::State::starting;
    Instant believed_since{};
    bool has_beaten = false;
    Instant heard_early{};
    Instant heard_late{};
    std::uint32_t heard_process = 0;
    Duration interval_early{};
    Duration interval_late{};
    Instant registered{};
    bool is_reported = false;        // An exit or a failure was reported since it was last heard.
    bool is_from_journal = false;    // Not heard since the monitor came back.
    bool is_self_restarted = false;  // Its runner reported a restart of its own since then.
    bool is_stopped = false;         // A goodbye was heard since then.
    bool must_be_healthy = false;    // Within a step: a living beat was accepted.
    bool is_manual = false;          // Its next incident or attempt is an operator's wish.
    Instant confused_until{};
    core::IncidentId open = 0;
    Instant heard_at_last_incident{};
    bool had_incident = false;
    std::deque<Instant> attempts;
  };
  struct OpenIncident {
    std::uint32_t agent = 0;
    Instant since{};
    bool is_told = false;
    bool is_manual = false;
  };

  void accuse(Instant now, std::string promise, std::string text);
  void hear(Instant now, Watch& watch, const Message& message);
  void check_answer(Instant now, const Message& message, core::Answer answer);
  void on_record(Instant now, const core::AgentRecord& record);
  void check_verdict(Instant now, std::uint32_t agent);
  void check_legal(Instant now, std::uint32_t agent, core::State from, core::State to);
  void on_incident(Instant now, const core::Incident& incident, core::PersistToken token);
  void check_opening(Instant now, std::uint32_t agent, const core::Incident& incident);
  void check_guard(Instant now, const core::Incident& incident);
  void on_guard(Instant now, const core::Incident& incident);
  void on_action(Instant now, const core::PerformAction& action);
  void check_life(Instant now, std::uint32_t agent, const core::PerformAction& action);
  void check_budget(Instant now, std::uint32_t agent);
  Duration needed_silence(const Watch& watch, const PretendAgent& agent, Duration interval) const;
  std::optional<std::uint32_t> find(std::string_view agent_id) const;

  const Fleet& fleet_;
  const core::Rules& rules_;
  Tally tally_;
  std::optional<Violation> violation_;
  std::unordered_map<std::string_view, std::uint32_t> by_id_;
  std::vector<Watch> watches_;
  std::vector<std::uint32_t> touched_;  // Agents to look at after the step.
  std::array<BlindLog, core::kSourceCount> surely_blind_;
  std::array<BlindLog, core::kSourceCount> maybe_blind_;
  std::array<std::optional<std::pair<Instant, Instant>>, core::kSourceCount> blind_now_;  // since, told
  std::array<Instant, core::kSourceCount> broker_restarted_{};
  std::map<core::PersistToken, std::vector<std::pair<core::IncidentId, std::uint32_t>>> waiting_;
  std::set<std::pair<core::IncidentId, std::uint32_t>> acknowledged_;
  std::set<std::pair<core::IncidentId, std::uint32_t>> performed_;
  std::set<std::pair<core::IncidentId, std::uint32_t>> acting_;
  std::set<std::pair<core::IncidentId, std::uint32_t>> asked_;
  std::deque<Instant> fleet_attempts_;
  std::map<core::IncidentId, OpenIncident> open_;
  std::map<core::NoticeId, core::IncidentId> notices_;
  Instant mass_since_ = kNever;
  std::optional<core::IncidentId> guard_incident_;
  Instant guard_since_{};
  std::set<std::uint32_t> down_at_guard_;  // Who was down when the guard began to hold.
};

}  // namespace defib::sim
