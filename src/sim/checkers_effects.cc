// The checkers' second half: what came out of the engine.
#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "sim/checkers.h"

namespace defib::sim {
namespace {

// By then every ladder here has ended, whatever the guard and the limits made it wait.
constexpr Duration kToldWithin = 6h;
constexpr Duration kWriteMax = 100ms;

bool is_step_of_recovery(core::StepKind kind) { return kind != core::StepKind::alert; }

}  // namespace

void Checkers::on_persisted(core::PersistToken token) {
  const auto at = waiting_.find(token);
  if (at == waiting_.end()) return;
  acknowledged_.insert(at->second.begin(), at->second.end());
  waiting_.erase(at);
}

void Checkers::on_action_end(core::IncidentId incident, std::uint32_t attempt) { acting_.erase({incident, attempt}); }

void Checkers::on_delivered(core::NoticeId notice) {
  const auto at = notices_.find(notice);
  if (at == notices_.end()) return;
  if (const auto open = open_.find(at->second); open != open_.end()) open->second.is_told = true;
  notices_.erase(at);
}

void Checkers::on_manual_recovery(std::string_view agent_id) {
  if (const auto agent = find(agent_id)) watches_[*agent].is_manual = true;
}

void Checkers::on_effect(Instant now, const core::Effect& effect) {
  if (const auto* persist = std::get_if<core::Persist>(&effect)) {
    if (const auto* record = std::get_if<core::AgentRecord>(&persist->record)) {
      on_record(now, *record);
    } else if (const auto* incident = std::get_if<core::Incident>(&persist->record)) {
      on_incident(now, *incident, persist->token);
    } else if (const auto* gone = std::get_if<core::AgentForgotten>(&persist->record)) {
      if (const auto agent = find(gone->id)) watches_[*agent] = Watch{};
    }
  } else if (const auto* action = std::get_if<core::PerformAction>(&effect)) {
    on_action(now, *action);
  } else if (const auto* notice = std::get_if<core::SendNotice>(&effect)) {
    notices_[notice->notice.id] = notice->notice.incident;
  } else if (const auto* command = std::get_if<core::SendCommand>(&effect)) {
    if (!find(command->agent_id)) accuse(now, "effects are about known agents", "command to " + command->agent_id);
  }
}

// ---- States --------------------------------------------------------------------------------------

void Checkers::on_record(Instant now, const core::AgentRecord& record) {
  const auto index = find(record.id);
  if (!index) return accuse(now, "effects are about known agents", "record of " + record.id);
  Watch& watch = watches_[*index];
  const core::State before = watch.believed;
  const bool was_known = watch.is_known;
  watch.is_known = true;
  if (before == record.state && was_known) return;
  watch.believed = record.state;
  watch.believed_since = now;
  if (was_known) check_legal(now, *index, before, record.state);
  if (record.state == core::State::failed) check_verdict(now, *index);
}

void Checkers::check_legal(Instant now, std::uint32_t index, core::State from, core::State to) {
  using core::State;
  const Watch& watch = watches_[index];
  if (now < watch.confused_until) return;
  const bool is_downfall = to == State::missing || to == State::failed || to == State::stalled;
  const bool is_illegal = (from == State::stopped && is_downfall && !watch.is_reported) ||
                          (from == State::failed && (to == State::missing || to == State::stalled)) ||
                          (from == State::starting && to == State::missing && !watch.has_beaten);
  if (is_illegal) {
    accuse(now, "states follow their table", fmt::format("{} {} -> {}", fleet_.agents[index].id, name(from), name(to)));
  }
}

void Checkers::after_step(Instant now) {
  for (const std::uint32_t index : touched_) {
    Watch& watch = watches_[index];
    const bool is_clear = now >= watch.confused_until && !fleet_.has_others(fleet_.agents[index]);
    const bool is_well = watch.believed == core::State::healthy || watch.believed == core::State::stalled;
    if (watch.must_be_healthy && is_clear && !is_well) {
      accuse(now, "a living agent that is heard is healthy",
             fmt::format("{} was heard and is {}", fleet_.agents[index].id, name(watch.believed)));
    }
    watch.must_be_healthy = false;
  }
  touched_.clear();
}

// ---- Incidents -----------------------------------------------------------------------------------

void Checkers::on_incident(Instant now, const core::Incident& incident, core::PersistToken token) {
  const auto index = find(incident.agent_id);
  if (!index) {
    if (incident.verdict == core::Verdict::guard) return on_guard(now, incident);
    return accuse(now, "effects are about known agents", "incident of " + incident.agent_id);
  }
  Watch& watch = watches_[*index];
  if (!open_.contains(incident.id) && incident.phase != core::Phase::closed) {
    check_opening(now, *index, incident);
    open_[incident.id] = {.agent = *index, .since = now, .is_manual = incident.verdict == core::Verdict::manual};
    watch.open = incident.id;
    watch.had_incident = true;
    watch.heard_at_last_incident = watch.heard_late;
  }
  for (const core::Attempt& attempt : incident.attempts) {
    const std::pair key{incident.id, attempt.n};
    if (attempt.result != core::AttemptResult::pending) {
      if (attempt.result == core::AttemptResult::verified && acting_.contains(key)) acting_.erase(key);
      continue;
    }
    // Without a token it is a restart that the runner was granted before.
    if (token == 0) continue;
    waiting_[token].push_back(key);
    if (asked_.insert(key).second && attempt.n == 1 && is_step_of_recovery(attempt.kind)) check_guard(now, incident);
  }
  if (incident.phase == core::Phase::closed) {
    if (!incident.attempts.empty() && incident.attempts.back().result == core::AttemptResult::verified) {
      ++tally_.recoveries;
    }
    open_.erase(incident.id);
    if (watch.open == incident.id) watch.open = 0;
  }
}

void Checkers::check_opening(Instant now, std::uint32_t index, const core::Incident& incident) {
  const Watch& watch = watches_[index];
  ++tally_.incidents;
  if (watch.open != 0) {
    accuse(now, "one incident per agent at a time",
           fmt::format("{} has incident {} open and gets {}", incident.agent_id, watch.open, incident.id));
  }
  if (now < watch.confused_until || fleet_.has_others(fleet_.agents[index])) return;
  const bool is_by_itself = incident.verdict == core::Verdict::silence;
  if (is_by_itself && watch.had_incident && watch.has_beaten && watch.heard_at_last_incident == watch.heard_late) {
    accuse(now, "one incident per death",
           fmt::format("{} gets incident {} without having been heard since its last", incident.agent_id, incident.id));
  }
}

// Nothing may begin while more than the guard's share of the whole fleet fell within its window. Agents
// that are gone count in the fleet here, which asks less of the guard.
void Checkers::check_guard(Instant now, const core::Incident& incident) {
  if (incident.verdict == core::Verdict::manual) return;
  std::size_t fallen = 0;
  std::size_t known = 0;
  for (const Watch& watch : watches_) {
    if (!watch.is_known) continue;
    ++known;
    const bool is_down = watch.believed == core::State::failed || watch.believed == core::State::missing;
    if (is_down && watch.believed_since + rules_.guard.within > now) ++fallen;
  }
  const bool is_mass = fallen > rules_.guard.at_least && fallen * 100 > known * rules_.guard.share_percent;
  if (!is_mass) {
    mass_since_ = kNever;
    return;
  }
  mass_since_ = std::min(mass_since_, now);
  if (now - mass_since_ < rules_.guard.holds_at_most) {
    accuse(now, "the guard holds while too much fails at once",
           fmt::format("recovery of {} begins while {} of {} agents fell within {}", incident.agent_id, fallen, known,
                       human_duration(rules_.guard.within)));
  }
}

// A hold ends when beats return, when its time is up, or by hand; not because time has passed.
void Checkers::on_guard(Instant now, const core::Incident& incident) {
  const auto is_down = [&](std::uint32_t index) {
    return watches_[index].believed == core::State::failed || watches_[index].believed == core::State::missing;
  };
  if (incident.phase != core::Phase::closed) {
    if (guard_incident_ == incident.id) return;
    guard_incident_ = incident.id;
    guard_since_ = now;
    down_at_guard_.clear();
    for (std::uint32_t i = 0; i < watches_.size(); ++i) {
      if (watches_[i].is_known && is_down(i)) down_at_guard_.insert(i);
    }
    return;
  }
  if (guard_incident_ != incident.id) return;
  guard_incident_.reset();
  const bool has_nobody_returned = std::ranges::all_of(down_at_guard_, is_down);
  if (has_nobody_returned && down_at_guard_.size() >= rules_.guard.at_least &&
      now - guard_since_ + kTolerance < rules_.guard.holds_at_most && incident.outcome != "closed by hand" &&
      incident.outcome != "the monitor was restarted") {
    accuse(now, "the guard holds until beats return or its time is up",
           fmt::format("it ended ({}) after {} while all {} were still down", incident.outcome,
                       human_duration(now - guard_since_), down_at_guard_.size()));
  }
}

void Checkers::audit(Instant now) {
  for (const auto& [id, open] : open_) {
    if (open.is_told || now - open.since < kToldWithin) continue;
    accuse(now, "every incident ends or is told to a person",
           fmt::format("incident {} of {} has been open for {} and nobody knows", id, fleet_.agents[open.agent].id,
                       human_duration(now - open.since)));
  }
}

// ---- Actions -------------------------------------------------------------------------------------

void Checkers::on_action(Instant now, const core::PerformAction& action) {
  const auto index = find(action.agent_id);
  if (!index) return accuse(now, "effects are about known agents", "action on " + action.agent_id);
  const std::pair key{action.incident, action.attempt};
  const std::string which = fmt::format("attempt {}.{} of {}", action.incident, action.attempt, action.agent_id);
  ++tally_.attempts;
  if (!acknowledged_.contains(key)) accuse(now, "an attempt is on disk before it is made", which);
  if (!performed_.insert(key).second) accuse(now, "an attempt is made at most once", which);
  acting_.insert(key);
  const auto open = open_.find(action.incident);
  if (open == open_.end()) return accuse(now, "an attempt belongs to an open incident", which);
  if (open->second.is_manual || watches_[*index].is_manual) {
    watches_[*index].is_manual = false;
    watches_[*index].attempts.clear();
    return;
  }
  check_life(now, *index, action);
  check_budget(now, *index);
}

void Checkers::check_life(Instant now, std::uint32_t index, const core::PerformAction& action) {
  const Watch& watch = watches_[index];
  const PretendAgent& agent = fleet_.agents[index];
  if (now < watch.confused_until || fleet_.has_others(agent)) return;
  if (watch.is_stopped) {
    accuse(now, "who said goodbye is not recovered", fmt::format("{} by {}", agent.id, action.reason));
  }
  if (!fleet_.is_running(agent)) return;
  // A runner's own successor that nobody has heard is not known to live.
  if (action.is_proven_stopped && action.step.kind == core::StepKind::replace && !watch.is_self_restarted) {
    accuse(now, "what is called proven stopped has stopped",
           fmt::format("{} life {}", agent.id, fleet_.current(agent).life));
  }
  // What a crash of the monitor made it forget can't be held against it beyond the deadline's own check.
  const bool is_audible = watch.has_beaten && watch.heard_early == watch.heard_late &&
                          watch.heard_process == agent.current && !watch.is_reported;
  const Duration silence = now - watch.heard_late;
  if (is_audible && silence + kTolerance < needed_silence(watch, agent, watch.interval_early)) {
    accuse(now, "no living agent is recovered",
           fmt::format("{} life {} was heard {} ago: {}", agent.id, fleet_.current(agent).life, human_duration(silence),
                       action.reason));
  }
}

void Checkers::check_budget(Instant now, std::uint32_t index) {
  const core::Limits& limits = rules_.policies[static_cast<std::size_t>(fleet_.agents[index].kind)].limits;
  std::deque<Instant>& attempts = watches_[index].attempts;
  attempts.push_back(now);
  while (attempts.front() + limits.per <= now + kWriteMax) attempts.pop_front();
  if (attempts.size() > limits.recoveries) {
    accuse(now, "an agent's budget is never broken",
           fmt::format("{}: {} attempts in {}", fleet_.agents[index].id, attempts.size(), human_duration(limits.per)));
  }
  fleet_attempts_.push_back(now);
  // The engine counts when it decides; the journal's answer comes up to kWriteMax later.
  while (fleet_attempts_.front() + 1min <= now + kWriteMax) fleet_attempts_.pop_front();
  if (fleet_attempts_.size() > rules_.limits.per_minute) {
    accuse(now, "the fleet's budget is never broken", fmt::format("{} attempts in a minute", fleet_attempts_.size()));
  }
  if (acting_.size() > rules_.limits.at_once) {
    accuse(now, "the fleet's budget is never broken", fmt::format("{} actions at once", acting_.size()));
  }
}

}  // namespace defib::sim
