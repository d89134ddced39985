// Budgets and grants, the guard's own incident, an operator's wishes, and coming back from the journal.
#include <algorithm>
#include <fmt/format.h>

#include "base/check.h"
#include "base/text.h"
#include "core/recovery.h"

namespace defib::core {
namespace {

// Starts remembered an agent: more than any policy's limit may count (app/config's range).
constexpr std::size_t kStartsKept = 1000;

}  // namespace

// ---- Budgets ---------------------------------------------------------------------------------------

void Recovery::count_start(Turn& turn, OpenIncident& open, Agent& agent) {
  std::vector<Instant>& recoveries = agent.facts().recoveries;
  if (recoveries.size() >= kStartsKept) recoveries.erase(recoveries.begin());
  recoveries.push_back(turn.now.steady);
  forget_old_starts(turn.now.steady);
  fleet_starts_.push_back(turn.now.steady);
  DEFIB_CHECK(!open.is_in_progress);
  open.is_in_progress = true;
  ++in_progress_;
}

void Recovery::forget_old_starts(Instant now) {
  while (!fleet_starts_.empty() && now - fleet_starts_.front() > 1min) fleet_starts_.pop_front();
}

void Recovery::release_place(OpenIncident& open) {
  if (!open.is_in_progress) return;
  DEFIB_CHECK(in_progress_ > 0);
  open.is_in_progress = false;
  --in_progress_;
}

std::uint32_t Recovery::recoveries_within(Agent& agent, Instant now) const {
  if (!agent.rare) return 0;
  std::vector<Instant>& recoveries = agent.rare->recoveries;
  const Duration per = registry_.policy(agent).limits.per;
  std::erase_if(recoveries, [&](Instant at) { return now - at >= per; });
  return static_cast<std::uint32_t>(recoveries.size());
}

// A runner may restart its program at once within what is journalled here first (rule 13).
void Recovery::consider_grant(Turn& turn, Agent& agent) {
  const Policy& policy = registry_.policy(agent);
  const bool can_grant = agent.is_runner && agent.incident == 0 && is_journal_writable_ &&
                         policy.mode == Mode::enforce && !policy.recovery.empty() &&
                         policy.recovery.front().kind == StepKind::restart && policy.recovery.front().with == "runner";
  if (!can_grant && (agent.incident != 0 || !is_journal_writable_ || !agent.rare || agent.rare->grant.restarts == 0))
    return;
  const std::uint32_t used = recoveries_within(agent, turn.now.steady);
  const std::uint32_t left = policy.limits.recoveries > used ? policy.limits.recoveries - used : 0;
  Grant& grant = agent.facts().grant;
  // What was granted before holds no more where the policy has changed.
  grant.restarts = can_grant ? std::min(policy.recovery.front().attempts, left) : 0;
  grant.spent = 0;
  grant.token = ++last_token_;
  grant_tokens_[grant.token] = agent.id;
  turn.persist(GrantRecord{agent.id, agent.instance_id, grant.restarts, 0}, grant.token);
}

void Recovery::send_grant(Turn& turn, Agent& agent) {
  Grant& grant = agent.facts().grant;
  grant.token = 0;
  turn.announce(EventKind::monitor, agent.id, 0, "granted",
                fmt::format("the runner of {} may restart it {} time{} by itself", agent.id, grant.restarts,
                            grant.restarts == 1 ? "" : "s"));
  turn.effects.list.emplace_back(SendCommand{.id = command_id(turn.last_event),
                                             .command = "grant",
                                             .agent_id = agent.id,
                                             .instance_id = {},
                                             .reason = "restarts that may be made at once",
                                             .restarts = grant.restarts});
}

// Who was held or given up because the policy asked for nothing more is looked at anew.
void Recovery::on_rules_changed(Turn& turn) {
  for (auto& [id, open] : book_.all_open()) {
    if (!open.waits_for_rules) continue;
    open.waits_for_rules = false;
    open.step = 0;
    open.tries = 0;
    if (open.incident.phase == Phase::told) move(turn, open, Phase::opening, "the rules have changed");
    book_.set_timer(open, turn.now.steady);
  }
}

// ---- Guard, journal, people ------------------------------------------------------------------------

void Recovery::refresh_guard(Turn& turn) {
  if (turn.now.steady >= guard_.next() || guard_incident_ != 0) guard_.refresh(turn.now.steady);
  if (guard_.is_holding()) {
    if (guard_incident_ == 0) begin_guard_incident(turn);
    return;
  }
  if (OpenIncident* open = book_.find(guard_incident_)) close(turn, *open, guard_.end_reason());
  guard_incident_ = 0;
  while (!guarded_.empty()) {
    OpenIncident* open = book_.find(guarded_.front());
    guarded_.pop_front();
    if (open == nullptr || open->incident.phase != Phase::held) continue;
    // When what they share has come back, the others beat within an interval: nobody is restarted before.
    const Agent& agent = registry_.at(open->key);
    const Duration wait = guard_.has_ended_by_beats() ? std::min(agent.interval + jitter_grace(agent.interval),
                                                                 registry_.rules().guard.holds_at_most)
                                                      : Duration{0};
    if (wait > Duration{0}) {
      move(turn, *open, Phase::held,
           fmt::format("the guard's hold is over: its beat may come within {}", human_duration(wait)));
    }
    book_.set_timer(*open, turn.now.steady + wait);
  }
}

void Recovery::begin_guard_incident(Turn& turn) {
  Incident incident{.id = ++book_.last_id,
                    .agent_id = "*",
                    .verdict = Verdict::guard,
                    .evidence = guard_.reason(),
                    .opened_at = turn.now.wall};
  incident.phase_reason = "recovery is held";
  guard_incident_ = incident.id;
  OpenIncident& open = book_.open(std::move(incident));
  open.is_guard = true;
  open.opened = turn.now.steady;
  book_.move(open, Phase::held,
             fmt::format("until beats return, for {} at most, or until it is ended by hand",
                         human_duration(registry_.rules().guard.holds_at_most)));
  turn.persist(open.incident);
  turn.announce(EventKind::incident, "*", open.incident.id, "guard", open.incident.evidence);
  notices_.fire(turn, open.incident.id, "*",
                {.channels = {},
                 .severity = "critical",
                 .message = open.incident.evidence,
                 .action_required = "See what they share; recovery goes on when beats return, or by time or by hand"});
}

void Recovery::on_journal_state(Turn& turn, const JournalState& state) {
  if (state.is_writable == is_journal_writable_) return;
  is_journal_writable_ = state.is_writable;
  turn.announce(EventKind::monitor, "", 0, state.is_writable ? "journal_mended" : "journal_broken",
                state.is_writable ? std::string("the journal can be written again")
                                  : fmt::format("the journal can't be written: {}", state.reason));
  if (!state.is_writable) {
    // An attempt on its way to the disk stays there; somebody has to know meanwhile.
    for (auto& [id, open] : book_.all_open()) {
      if (open.incident.phase != Phase::persisting || open.has_told_of_journal) continue;
      open.has_told_of_journal = true;
      page(turn, open, {}, "critical", "Recovery waits: mend the monitor's data directory");
    }
    return;
  }
  while (!journal_held_.empty()) {
    OpenIncident* open = book_.find(journal_held_.front());
    journal_held_.pop_front();
    if (open != nullptr && open->incident.phase == Phase::held) book_.set_timer(*open, turn.now.steady);
  }
}

void Recovery::page(Turn& turn, OpenIncident& open, std::vector<std::string> channels, std::string_view severity,
                    std::string action) {
  const Agent& agent = registry_.at(open.key);
  const std::size_t told = notices_.fire(turn, open.incident.id, agent.id,
                                         {.channels = std::move(channels),
                                          .severity = std::string(severity),
                                          .message = incident_message(open.incident, &agent),
                                          .action_required = std::move(action),
                                          .last_heartbeat = agent.last_heard_wall});
  if (told == 0) return;
  turn.announce(EventKind::incident, agent.id, open.incident.id, "paged",
                fmt::format("telling {} channel{} about {}", told, told == 1 ? "" : "s", agent.id));
}

// ---- Wishes ----------------------------------------------------------------------------------------

void Recovery::answer(Turn& turn, const OperatorAsked& asked, unsigned status, std::string code, std::string message,
                      std::string hint, IncidentId incident) {
  turn.effects.list.emplace_back(
      OperatorAnswer{asked.request, status, std::move(code), std::move(message), std::move(hint), incident});
}

void Recovery::on_wish(Turn& turn, const OperatorAsked& asked) {
  switch (asked.wish) {
    case Wish::recover:
      return wish_recover(turn, asked);
    case Wish::acknowledge:
    case Wish::close:
      return wish_on_incident(turn, asked);
    case Wish::end_guard:
      guard_.end_by_hand();
      return answer(turn, asked, 200, "", "the guard holds nothing any more");
  }
}

void Recovery::wish_recover(Turn& turn, const OperatorAsked& asked) {
  Agent* agent = registry_.find(asked.agent_id);
  if (agent == nullptr)
    return answer(turn, asked, 404, "not_found", "Agent not found", "GET /v1/agents lists the known ones");
  OpenIncident* open = book_.find(agent->incident);
  if (open == nullptr && !asked.force && (agent->state != State::failed && agent->state != State::missing)) {
    return answer(turn, asked, 409, "not_failed",
                  fmt::format("{} is {}: nothing to recover", agent->id, name(agent->state)),
                  "force: true recovers it all the same");
  }
  const Policy& policy = registry_.policy(*agent);
  const bool has_step = std::any_of(policy.recovery.begin(), policy.recovery.end(),
                                    [](const Step& step) { return step.kind != StepKind::alert; });
  if (!has_step) {
    return answer(turn, asked, 409, "no_step",
                  fmt::format("the policy of {} has no recovery step but alerts", agent->id),
                  "add a restart or replace step to its policy");
  }
  if (open != nullptr && (open->pending_attempt() != nullptr)) {
    return answer(turn, asked, 409, "under_way",
                  fmt::format("an attempt for {} is under way: {}", agent->id, open->incident.phase_reason),
                  "wait for its end", open->incident.id);
  }
  // A person's hand clears the count.
  agent->facts().recoveries.clear();
  agent->facts().backoff_level = 0;
  if (open == nullptr) {
    this->open(turn, *agent, Verdict::manual,
               fmt::format("recovery of {} was asked for by {}", agent->id, asked.who.empty() ? "a person" : asked.who),
               agent->epoch);
    open = book_.find(agent->incident);
  }
  open->is_manual = true;
  open->step = 0;
  open->tries = 0;
  turn.announce(
      EventKind::incident, agent->id, open->incident.id, "asked",
      fmt::format("recovery of {} was asked for by {}", agent->id, asked.who.empty() ? "a person" : asked.who));
  if (open->incident.phase != Phase::opening) move(turn, *open, Phase::opening, "asked for by a person");
  book_.set_timer(*open, turn.now.steady);
  answer(turn, asked, 200, "", fmt::format("recovering {}", agent->id), "", open->incident.id);
}

void Recovery::wish_on_incident(Turn& turn, const OperatorAsked& asked) {
  OpenIncident* open = book_.find(asked.incident);
  if (open == nullptr) {
    const bool is_known = book_.get(asked.incident).has_value();
    return answer(
        turn, asked, is_known ? 409 : 404, is_known ? "closed" : "not_found",
        is_known ? fmt::format("incident {} is closed already", asked.incident) : std::string("Incident not found"),
        "GET /v1/incidents?state=open lists the open ones");
  }
  const std::string who = asked.who.empty() ? "a person" : std::string(asked.who);
  if (asked.wish == Wish::acknowledge) {
    open->incident.is_acknowledged = true;
    notices_.acknowledge(asked.incident, turn.now.steady);
    turn.persist(open->incident);
    turn.announce(EventKind::incident, open->incident.agent_id, asked.incident, "acknowledged",
                  fmt::format("incident {} was acknowledged by {}", asked.incident, who));
    return answer(turn, asked, 200, "", fmt::format("incident {} is acknowledged", asked.incident), "", asked.incident);
  }
  if (open->is_guard) guard_.end_by_hand();
  close(turn, *open, "closed by hand");
  answer(turn, asked, 200, "", fmt::format("incident {} is closed", asked.incident), "", asked.incident);
}

// ---- Coming back -----------------------------------------------------------------------------------

void Recovery::restore(Turn& turn, const Snapshot& snapshot) {
  book_.last_id = snapshot.last_incident;
  for (const Incident& incident : snapshot.incidents) book_.last_id = std::max(book_.last_id, incident.id);
  for (const Incident& incident : snapshot.incidents) {
    // What was begun before counts on: a restart of the monitor opens no budget.
    Agent* agent = registry_.find(incident.agent_id);
    for (const Attempt& attempt : incident.attempts) {
      // Wall times are whole milliseconds: rounded to the side that counts longer.
      const Instant at = turn.now.steady + 1ms - std::max(Duration{0}, Duration(turn.now.wall - attempt.started_at));
      if (turn.now.steady - at < 1min) fleet_starts_.push_back(at);
      if (agent != nullptr) agent->facts().recoveries.push_back(at);
    }
    if (incident.phase == Phase::closed) {
      book_.restore_closed(incident);
    } else {
      restore_incident(turn, incident);
    }
  }
  std::sort(fleet_starts_.begin(), fleet_starts_.end());
  for (AgentKey key = 0; key < registry_.key_end(); ++key) {
    if (!registry_.is_used(key)) continue;
    Agent& agent = registry_.at(key);
    guard_.restore(agent, turn.now.steady);
    if (agent.rare) std::sort(agent.rare->recoveries.begin(), agent.rare->recoveries.end());
  }
  for (const GrantRecord& record : snapshot.grants) {
    if (Agent* agent = registry_.find(record.agent_id)) {
      agent->facts().grant = {record.restarts, record.spent, 0};
    }
  }
}

void Recovery::restore_incident(Turn& turn, const Incident& incident) {
  Agent* agent = registry_.find(incident.agent_id);
  OpenIncident& open = book_.open(incident);
  open.opened = turn.now.steady;
  if (agent == nullptr || agent->incident != 0) {
    open.is_guard = true;
    return close(
        turn, open,
        agent == nullptr && incident.agent_id != "*" ? "the agent has left the table" : "the monitor was restarted");
  }
  agent->incident = incident.id;
  open.key = agent->key;
  open.epoch = agent->epoch;
  open.is_manual = incident.verdict == Verdict::manual;
  if (!incident.attempts.empty()) {
    open.step = incident.attempts.back().step;
    for (const Attempt& attempt : incident.attempts) open.tries += attempt.step == open.step ? 1 : 0;
  }
  open.has_alerted = incident.phase == Phase::told;
  const Policy& policy = registry_.policy(*agent);
  detector_.rearm(agent->key, turn.now.steady);
  Attempt* pending = open.pending_attempt();
  if (pending == nullptr) {
    if (incident.phase == Phase::told) return;
    if (open.step < policy.recovery.size() && open.tries >= policy.recovery[open.step].attempts) {
      ++open.step;
      open.tries = 0;
    }
    book_.set_timer(open, turn.now.steady);
    return;
  }
  // Begun, and nobody knows how it ended: wait out its verification, then count it as failed (rule 1).
  --open.tries;
  open.is_unknown = true;
  pending->detail = "the monitor was restarted meanwhile: whether it was made is not known";
  open.is_in_progress = true;
  ++in_progress_;
  if (open.incident.phase == Phase::persisting) book_.move(open, Phase::acting, open.incident.phase_reason);
  const Duration within =
      verify_within(open.step < policy.recovery.size() ? policy.recovery[open.step] : Step{}, agent->interval);
  open.verify_started = turn.now.steady;
  open.acted = turn.now.steady;
  move(turn, open, Phase::verifying,
       fmt::format("an attempt was begun before the monitor's restart: waiting up to {} for a beat that proves it",
                   human_duration(within)));
  book_.set_timer(open, turn.now.steady + within);
}

}  // namespace defib::core
