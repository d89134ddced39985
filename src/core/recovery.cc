// Happenings and the ladder. Budgets, people and coming back from the journal are in recovery_limits.cc.
#include "core/recovery.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/check.h"
#include "base/text.h"

namespace defib::core {
namespace {

// Two failures within this wait for each other, so that the guard sees both (rule 4).
constexpr Duration kGatherFor = 1s;
// Beats of the old instance this soon after the adapter finished were in flight; a runner is asked only, and
// its program may take the kill grace to end.
constexpr Duration kInFlight = 250ms;
// Past the step's own time an adapter that says nothing is given up.
constexpr Duration kAdapterSlack = 30s;

Duration in_flight(const Attempt& attempt) { return attempt.with == "runner" ? kKillGrace + 1s : kInFlight; }

// The old instance says goodbye because we are restarting it: the ladder goes on until a new one beats.
bool is_our_own_doing(const OpenIncident& open, const Happening& happening, Instant now) {
  if (happening.epoch > open.epoch) return false;
  return open.incident.phase == Phase::acting ||
         (open.incident.phase == Phase::verifying && now < open.acted + kKillGrace + 1s);
}

Verdict verdict_of(Stimulus cause) {
  switch (cause) {
    case Stimulus::exited_bad:
      return Verdict::exit;
    case Stimulus::startup_passed:
      return Verdict::never_beat;
    case Stimulus::failure_reported:
      return Verdict::reported_failure;
    default:
      return Verdict::silence;
  }
}

std::string step_words(const Step& step) { return fmt::format("{} with {}", name(step.kind), step.with); }

}  // namespace

// ---- Happenings ------------------------------------------------------------------------------------

void Recovery::take(Turn& turn) {
  // Recovery itself makes none of these, but closing an incident may touch the registry: go by index.
  for (std::size_t i = 0; i < turn.happenings.size(); ++i) {
    const Happening happening = turn.happenings[i];
    guard_.on_change(happening, turn.now.steady);
    if (happening.kind == Happening::Kind::removed) {
      if (OpenIncident* open = book_.find(happening.incident)) {
        release_place(*open);
        open->key = 0;
        open->is_guard = true;  // No agent any more: close() must not look it up.
        close(turn, *open, happening.text);
      }
      continue;
    }
    if (!registry_.is_used(happening.key)) continue;
    Agent& agent = registry_.at(happening.key);
    switch (happening.kind) {
      case Happening::Kind::changed:
        on_changed(turn, happening);
        break;
      case Happening::Kind::heard:
        on_sighting(turn, happening);
        break;
      case Happening::Kind::registered:
        on_registered(turn, happening);
        break;
      case Happening::Kind::ended_again:
        if (OpenIncident* open = book_.find(agent.incident); open != nullptr && happening.epoch > open->epoch) {
          if (open->pending_attempt() != nullptr) fail_attempt(turn, *open, happening.text, false);
        }
        break;
      case Happening::Kind::granted_start:
        on_granted_start(turn, happening);
        break;
      case Happening::Kind::new_life:
        if (agent.is_runner || agent.facts().grant.restarts > 0) consider_grant(turn, agent);
        break;
      case Happening::Kind::conflict:
        notices_.fire(turn, 0, agent.id,
                      {.channels = {},
                       .severity = "warning",
                       .message = happening.text,
                       .action_required = "Stop one of the two, or give it an id of its own",
                       .last_heartbeat = agent.last_heard_wall});
        break;
      case Happening::Kind::removed:
        break;
    }
  }
}

void Recovery::on_changed(Turn& turn, const Happening& happening) {
  Agent& agent = registry_.at(happening.key);
  OpenIncident* open = book_.find(agent.incident);
  switch (happening.to) {
    case State::failed:
      if (open == nullptr) {
        this->open(turn, agent, verdict_of(happening.cause), happening.text, happening.epoch);
      } else if (happening.epoch > open->epoch && happening.cause == Stimulus::exited_bad) {
        // The successor came up and has gone again.
        if (open->pending_attempt() != nullptr) fail_attempt(turn, *open, happening.text, false);
      }
      break;
    case State::stopped:
      if (open != nullptr && !is_our_own_doing(*open, happening, turn.now.steady)) close(turn, *open, "stopped");
      break;
    case State::healthy:
      if (open != nullptr) on_sighting(turn, happening);
      break;
    case State::starting:
    case State::missing:
    case State::stalled:
      break;
  }
}

// A beat of an agent that has an open incident (rule 2).
void Recovery::on_sighting(Turn& turn, const Happening& happening) {
  Agent& agent = registry_.at(happening.key);
  OpenIncident* open = book_.find(agent.incident);
  if (open == nullptr || happening.is_conflict) return;
  const Phase phase = open->incident.phase;
  Attempt* attempt = open->pending_attempt();
  const bool is_under_way = phase == Phase::acting || phase == Phase::verifying;
  const bool is_successor = happening.epoch > open->epoch;
  const bool proves = happening.has_identity ? is_successor : phase == Phase::verifying;

  if (is_under_way && proves) {
    DEFIB_CHECK(attempt != nullptr);
    attempt->result = AttemptResult::verified;
    attempt->detail = fmt::format(
        "{} beats, {} after the attempt", agent.instance_id.empty() ? agent.id : "instance " + agent.instance_id,
        human_duration(std::chrono::duration_cast<Duration>(turn.now.wall - attempt->started_at)));
    ++turn.counters.attempts_verified;
    turn.announce(EventKind::attempt, agent.id, open->incident.id, "verified",
                  fmt::format("{} of {} worked: {}", name(attempt->kind), agent.id, attempt->detail));
    return close(turn, *open, "recovered");
  }
  if (phase == Phase::acting) {
    open->is_old_heard = true;
    return;
  }
  if (open->is_manual && (phase == Phase::opening || phase == Phase::held || phase == Phase::persisting)) return;
  if (phase == Phase::verifying && turn.now.steady < open->acted + in_flight(*attempt)) return;
  if (phase == Phase::persisting) {
    attempt->result = AttemptResult::failed;
    attempt->detail = "not made: the agent was heard again before";
    const bool is_first = open->incident.attempts.size() == 1;
    return close(turn, *open, is_first || is_successor ? "self" : "self, restart did not take");
  }
  const bool did_not_take = !open->incident.attempts.empty() && !is_successor;
  if (attempt != nullptr) {
    attempt->result = AttemptResult::failed;
    attempt->detail = "the old instance beats again: the attempt did not take";
    ++turn.counters.attempts_failed;
  }
  close(turn, *open, did_not_take ? "self, restart did not take" : "self");
}

void Recovery::on_registered(Turn& turn, const Happening& happening) {
  Agent& agent = registry_.at(happening.key);
  OpenIncident* open = book_.find(agent.incident);
  if (open == nullptr) return;
  if (open->incident.phase == Phase::acting) open->has_registered = true;
  if (open->incident.phase != Phase::verifying) return;
  const Instant until = open->verify_started + startup_grace(registry_.policy(agent), agent.interval);
  if (until <= open->timer) return;
  book_.set_timer(*open, until);
  open->incident.phase_reason = fmt::format("it registered anew and has its start-up grace of {} to beat",
                                            human_duration(startup_grace(registry_.policy(agent), agent.interval)));
  turn.persist(open->incident);
}

void Recovery::on_granted_start(Turn& turn, const Happening& happening) {
  Agent& agent = registry_.at(happening.key);
  OpenIncident* open = book_.find(agent.incident);
  if (open == nullptr) return;
  if (open->pending_attempt() != nullptr) fail_attempt(turn, *open, happening.text, false);
  book_.set_timer(*open, kNever);
  const Policy& policy = registry_.policy(agent);
  const Step step = open->step < policy.recovery.size() ? policy.recovery[open->step] : Step{};
  open->incident.attempts.push_back({.n = static_cast<std::uint32_t>(open->incident.attempts.size() + 1),
                                     .step = open->step,
                                     .kind = StepKind::restart,
                                     .with = "runner",
                                     .started_at = turn.now.wall,
                                     .detail = "the runner restarted it at once, within its grant"});
  count_start(turn, *open, agent);
  open->epoch = happening.epoch;
  open->has_unheard_start = true;
  open->acted = turn.now.steady;
  open->verify_started = turn.now.steady;
  move(turn, *open, Phase::verifying, "restarted by its runner; waiting for the first beat of the new instance");
  book_.set_timer(*open, turn.now.steady + verify_within(step, agent.interval));
  turn.announce(EventKind::attempt, agent.id, open->incident.id, "restart",
                fmt::format("{} was restarted by its runner within its grant", agent.id));
}

void Recovery::open(Turn& turn, Agent& agent, Verdict verdict, std::string evidence, std::uint32_t epoch) {
  Incident incident{.id = ++book_.last_id,
                    .agent_id = agent.id,
                    .verdict = verdict,
                    .evidence = std::move(evidence),
                    .opened_at = turn.now.wall,
                    .instance_id = agent.instance_id};
  if (verdict == Verdict::exit && agent.rare) incident.output_tail = agent.rare->output_tail;
  incident.phase_reason = "just noticed";
  agent.incident = incident.id;
  OpenIncident& open = book_.open(std::move(incident));
  open.key = agent.key;
  open.epoch = epoch;
  open.opened = turn.now.steady;
  open.is_manual = verdict == Verdict::manual;
  RareFacts& facts = agent.facts();
  if (facts.well_since == Instant{} || turn.now.steady - facts.well_since > kBackoffForgetAfter)
    facts.backoff_level = 0;
  ++turn.counters.incidents_opened;
  detector_.rearm(agent.key, turn.now.steady);
  book_.set_timer(open, turn.now.steady);
  if (!open.is_manual) failures_.push_back(turn.now.steady);
  turn.persist(open.incident);
  turn.announce(EventKind::incident, agent.id, open.incident.id, "opened",
                fmt::format("incident {} is open for {}", open.incident.id, agent.id));
}

void Recovery::close(Turn& turn, OpenIncident& open, std::string outcome) {
  Incident& incident = open.incident;
  release_place(open);
  if (Attempt* attempt = open.pending_attempt()) {
    attempt->result = AttemptResult::unknown;
    attempt->detail = "the incident was over before it was known";
  }
  book_.move(open, Phase::closed, outcome);
  incident.outcome = std::move(outcome);
  incident.closed_at = turn.now.wall;
  Agent* agent = open.is_guard ? nullptr : &registry_.at(open.key);
  const std::string took = human_duration(std::chrono::duration_cast<Duration>(turn.now.wall - incident.opened_at));
  const std::string text = incident.verdict == Verdict::guard
                               ? fmt::format("the guard holds recovery no more ({}) after {}", incident.outcome, took)
                               : fmt::format("incident {} of {} is over ({}) after {}", incident.id, incident.agent_id,
                                             incident.outcome, took);
  turn.persist(incident);
  turn.announce(EventKind::incident, incident.agent_id, incident.id, "closed", text);
  Notices::Telling telling{
      .channels = {}, .severity = "info", .message = text + ". " + incident_message(incident, agent)};
  if (agent != nullptr) telling.last_heartbeat = agent->last_heard_wall;
  if (incident.outcome == "self, restart did not take") {
    telling.severity = "warning";
    telling.message =
        fmt::format("{} came back by itself, the same instance as before: {} did not take. {}", incident.agent_id,
                    incident.attempts.empty() ? "recovery" : name(incident.attempts.back().kind), text);
    telling.action_required = "See why the step does not reach the agent";
    // Told even where no alert had gone out: a ladder that misses its agent is worth knowing.
    notices_.resolve(turn, incident, telling);
    notices_.fire(turn, 0, incident.agent_id, telling);
  } else {
    notices_.resolve(turn, incident, telling);
  }
  const AgentKey key = open.key;
  book_.close(incident.id);
  if (agent == nullptr) return;
  agent->incident = 0;
  agent->facts().well_since = turn.now.steady;
  turn.touched.push_back(key);
  detector_.rearm(key, turn.now.steady);
  if (agent->is_runner) consider_grant(turn, *agent);
}

// ---- The ladder ------------------------------------------------------------------------------------

void Recovery::move(Turn& turn, OpenIncident& open, Phase to, std::string reason) {
  const bool is_news = open.incident.phase != to || open.incident.phase_reason != reason;
  book_.move(open, to, std::move(reason));
  if (is_news) turn.persist(open.incident);
}

void Recovery::hold(Turn& turn, OpenIncident& open, std::string reason) {
  const bool is_news = open.incident.phase != Phase::held || open.incident.phase_reason != reason;
  move(turn, open, Phase::held, std::move(reason));
  if (is_news) {
    turn.announce(EventKind::incident, open.incident.agent_id, open.incident.id, "held", open.incident.phase_reason);
  }
}

// Decides what comes next for an incident that waits for nothing.
void Recovery::look(Turn& turn, OpenIncident& open) {
  Agent& agent = registry_.at(open.key);
  const Policy policy = registry_.policy(agent);
  if (agent.state == State::healthy && !open.is_manual) {
    return close(turn, open, open.incident.attempts.empty() ? "self" : "self, restart did not take");
  }
  if (policy.recovery.empty()) {
    open.waits_for_rules = true;
    if (open.incident.phase != Phase::told) hold(turn, open, "the policy asks for verdicts only");
    return;
  }
  for (; open.step < policy.recovery.size(); ++open.step, open.tries = 0) {
    const Step& step = policy.recovery[open.step];
    if (step.kind == StepKind::alert) {
      open.has_alerted = true;
      page(turn, open, step.to, "critical", "Manual intervention needed");
      continue;
    }
    if (policy.mode == Mode::observe && !open.is_manual) {
      turn.announce(EventKind::incident, agent.id, open.incident.id, "would",
                    fmt::format("would {} {} (the policy observes)", step_words(step), agent.id));
      continue;
    }
    if (is_held(turn, open, agent, policy)) return;
    return begin_attempt(turn, open, step);
  }
  open.waits_for_rules = policy.mode == Mode::observe && !open.is_manual;
  finish_ladder(turn, open, open.waits_for_rules ? "the policy observes only" : "the ladder is at its end");
}

bool Recovery::is_held(Turn& turn, OpenIncident& open, const Agent& agent, const Policy& policy) {
  if (!is_journal_writable_) {
    journal_held_.push_back(open.incident.id);
    hold(turn, open, "the journal can't be written, and no attempt is made that could be forgotten");
    if (!open.has_told_of_journal) {
      page(turn, open, {}, "critical", "Recovery waits: mend the monitor's data directory");
    }
    open.has_told_of_journal = true;
    return true;
  }
  // A hand overrides guard and policy, not the bound on what goes on at once.
  if (open.is_manual) return has_no_place(turn, open);
  if (open.incident.attempts.empty()) {
    if (const auto reason = guard_.holds(agent, turn.now.steady)) {
      guarded_.push_back(open.incident.id);
      hold(turn, open, *reason);
      refresh_guard(turn);
      return true;
    }
  }
  const std::uint32_t made = recoveries_within(registry_.at(open.key), turn.now.steady);
  if (made >= policy.limits.recoveries) {
    finish_ladder(turn, open,
                  fmt::format("flapping: {} recoveries within {}, more are not allowed", made,
                              human_duration(policy.limits.per)));
    return true;
  }
  return has_no_place(turn, open);
}

bool Recovery::has_no_place(Turn& turn, OpenIncident& open) {
  const FleetLimits& limits = registry_.rules().limits;
  forget_old_starts(turn.now.steady);
  std::string reason;
  if (in_progress_ >= limits.at_once) {
    reason = fmt::format("{} recoveries are under way, the fleet's limit", limits.at_once);
  } else if (fleet_starts_.size() >= limits.per_minute) {
    reason = fmt::format("{} recoveries began within a minute, the fleet's limit", limits.per_minute);
  } else {
    return false;
  }
  waiting_.push_back(open.incident.id);
  hold(turn, open, std::move(reason));
  return true;
}

void Recovery::begin_attempt(Turn& turn, OpenIncident& open, const Step& step) {
  Agent& agent = registry_.at(open.key);
  open.is_old_heard = false;
  open.has_registered = false;
  open.is_unknown = false;
  open.incident.attempts.push_back({.n = static_cast<std::uint32_t>(open.incident.attempts.size() + 1),
                                    .step = open.step,
                                    .kind = step.kind,
                                    .with = step.with,
                                    .started_at = turn.now.wall});
  count_start(turn, open, agent);
  open.token = ++last_token_;
  attempt_tokens_[open.token] = open.incident.id;
  book_.move(open, Phase::persisting, "the attempt is being written to the journal");
  turn.persist(open.incident, open.token);
}

void Recovery::on_persisted(Turn& turn, PersistToken token) {
  if (const auto grant = grant_tokens_.find(token); grant != grant_tokens_.end()) {
    Agent* agent = registry_.find(grant->second);
    grant_tokens_.erase(grant);
    if (agent != nullptr && agent->facts().grant.token == token) send_grant(turn, *agent);
    return;
  }
  const auto found = attempt_tokens_.find(token);
  if (found == attempt_tokens_.end()) return;
  OpenIncident* open = book_.find(found->second);
  attempt_tokens_.erase(found);
  if (open == nullptr || open->token != token || open->incident.phase != Phase::persisting) return;
  open->token = 0;
  perform(turn, *open);
}

void Recovery::perform(Turn& turn, OpenIncident& open) {
  Agent& agent = registry_.at(open.key);
  const Policy& policy = registry_.policy(agent);
  const Attempt& attempt = open.incident.attempts.back();
  if (attempt.step >= policy.recovery.size() || policy.recovery[attempt.step].kind != attempt.kind) {
    return fail_attempt(turn, open, "not made: the policy has changed", true);
  }
  const Step& step = policy.recovery[attempt.step];
  PerformAction action{
      .incident = open.incident.id,
      .attempt = attempt.n,
      .step = step,
      .agent_id = agent.id,
      .agent_type = registry_.type(agent),
      .host = registry_.host(agent),
      .pid = agent.pid,
      .instance_id = agent.instance_id,
      .new_instance_id = fmt::format("{:016x}", prng_.next()),
      .current_task = agent.task,
      .task_progress = agent.task_progress >= 0 ? std::optional<double>(agent.task_progress) : std::nullopt,
      .capsule = agent.rare ? agent.rare->capsule : std::string(),
      .reason = open.incident.evidence,
      .is_proven_stopped = agent.is_ended && !open.has_unheard_start};
  if (step.kind == StepKind::replace) {
    detector_.fence(open.key);
    turn.touched.push_back(open.key);
  }
  ++turn.counters.attempts_made;
  move(turn, open, Phase::acting, fmt::format("{}, attempt {} of {}", step_words(step), open.tries + 1, step.attempts));
  book_.set_timer(open, turn.now.steady + step.timeout + kKillGrace + kAdapterSlack);
  turn.announce(
      EventKind::attempt, agent.id, open.incident.id, name(step.kind),
      fmt::format("trying {} for {}, attempt {} of {}", step_words(step), agent.id, open.tries + 1, step.attempts));
  turn.effects.list.emplace_back(std::move(action));
}

void Recovery::on_action_finished(Turn& turn, const ActionFinished& finished) {
  OpenIncident* open = book_.find(finished.incident);
  if (open == nullptr || open->incident.phase != Phase::acting) return;
  Attempt* attempt = open->pending_attempt();
  if (attempt == nullptr || attempt->n != finished.attempt) return;
  Agent& agent = registry_.at(open->key);
  open->acted = turn.now.steady;
  if (finished.end == ActionEnd::done) {
    attempt->detail = finished.detail;
    const Policy& policy = registry_.policy(agent);
    Duration within =
        verify_within(attempt->step < policy.recovery.size() ? policy.recovery[attempt->step] : Step{}, agent.interval);
    if (open->has_registered) within = std::max(within, startup_grace(policy, agent.interval));
    open->verify_started = turn.now.steady;
    move(turn, *open, Phase::verifying,
         fmt::format("waiting up to {} for a beat that proves it", human_duration(within)));
    book_.set_timer(*open, turn.now.steady + within);
    return;
  }
  const bool is_refused = finished.end == ActionEnd::refused;
  if (is_refused && attempt->kind == StepKind::replace) {
    detector_.undo_fence(open->key);
    turn.touched.push_back(open->key);
  }
  if (open->is_old_heard) {
    attempt->result = AttemptResult::failed;
    attempt->detail = finished.detail;
    ++turn.counters.attempts_failed;
    return close(turn, *open, "self, restart did not take");
  }
  fail_attempt(turn, *open, std::string(finished.detail), is_refused);
}

// `is_step_over`: trying the same step again would end the same way.
void Recovery::fail_attempt(Turn& turn, OpenIncident& open, std::string detail, bool is_step_over) {
  Attempt* attempt = open.pending_attempt();
  DEFIB_CHECK(attempt != nullptr);
  const Agent& agent = registry_.at(open.key);
  attempt->result = AttemptResult::failed;
  attempt->detail = std::move(detail);
  ++turn.counters.attempts_failed;
  release_place(open);
  // What the successor does from here on is judged by itself.
  open.epoch = agent.epoch;
  turn.announce(
      EventKind::attempt, agent.id, open.incident.id, "failed",
      fmt::format("{} of {} with {} failed: {}", name(attempt->kind), agent.id, attempt->with, attempt->detail));
  const Policy& policy = registry_.policy(agent);
  ++open.tries;
  if (is_step_over || open.step >= policy.recovery.size() || open.tries >= policy.recovery[open.step].attempts) {
    ++open.step;
    open.tries = 0;
  }
  go_on(turn, open);
}

// After a failed attempt: the next one waits for the back-off, a person is told at once.
void Recovery::go_on(Turn& turn, OpenIncident& open) {
  Agent& agent = registry_.at(open.key);
  const Policy& policy = registry_.policy(agent);
  const bool has_attempt_next =
      open.step < policy.recovery.size() && policy.recovery[open.step].kind != StepKind::alert;
  const Duration wait = has_attempt_next ? backoff(agent) : Duration{0};
  move(turn, open, Phase::backing_off,
       has_attempt_next ? fmt::format("next: {} in {}", step_words(policy.recovery[open.step]), human_duration(wait))
                        : std::string("telling a person"));
  book_.set_timer(open, turn.now.steady + wait);
}

void Recovery::finish_ladder(Turn& turn, OpenIncident& open, const std::string& why) {
  if (!open.has_alerted && !registry_.policy(registry_.at(open.key)).recovery.empty()) {
    page(turn, open, {}, "critical", "Manual intervention needed: " + why);
  }
  open.has_alerted = true;
  const bool has_channel = !registry_.rules().channels.empty();
  move(turn, open, Phase::told,
       fmt::format("{}; {}", why,
                   has_channel ? "a person is being told" : "no alert channel is configured, so nobody could be told"));
  turn.announce(EventKind::incident, open.incident.agent_id, open.incident.id, "told", open.incident.phase_reason);
}

void Recovery::on_timer(Turn& turn, OpenIncident& open) {
  switch (open.incident.phase) {
    case Phase::opening:
    case Phase::held:
    case Phase::backing_off:
      return look(turn, open);
    case Phase::acting:
      return fail_attempt(turn, open, "the adapter gave no answer in its time", false);
    case Phase::verifying: {
      const Agent& agent = registry_.at(open.key);
      Attempt* attempt = open.pending_attempt();
      DEFIB_CHECK(attempt != nullptr);
      const bool beats_on = agent.state == State::healthy && agent.epoch <= open.epoch &&
                            agent.last_heard > open.acted + in_flight(*attempt);
      if (beats_on) {
        attempt->result = AttemptResult::failed;
        attempt->detail = "the old instance beats: the attempt did not take";
        ++turn.counters.attempts_failed;
        return close(turn, open, "self, restart did not take");
      }
      return fail_attempt(
          turn, open,
          fmt::format("{}no beat of a new instance within {}",
                      open.is_unknown ? "whether it was made before the monitor's restart is not known; " : "",
                      human_duration(turn.now.steady - open.verify_started)),
          false);
    }
    case Phase::persisting:
    case Phase::told:
    case Phase::closed:
      return;
  }
}

Duration Recovery::backoff(Agent& agent) {
  RareFacts& facts = agent.facts();
  const Duration base =
      std::min<Duration>(kBackoffCap, kBackoffFirst * (1 << std::min<std::uint32_t>(facts.backoff_level, 10)));
  ++facts.backoff_level;
  return base + base / 100 * prng_.between(-kBackoffJitterPercent, kBackoffJitterPercent);
}

void Recovery::advance(Turn& turn) {
  const Instant now = turn.now.steady;
  while (!failures_.empty() && now - failures_.front() >= kGatherFor) failures_.pop_front();
  const bool is_gathering = failures_.size() >= 2;
  while (OpenIncident* open = book_.take_due(now)) {
    const bool is_fresh = open->incident.phase == Phase::opening && !open->is_manual && now - open->opened < kGatherFor;
    if (is_fresh && is_gathering) {
      open->incident.phase_reason =
          "others failed in the same second: waiting one second, so that they are seen together";
      book_.set_timer(*open, open->opened + kGatherFor);
      continue;
    }
    on_timer(turn, *open);
  }
  refresh_guard(turn);
  // Whoever waits for a place, first come first served; one that finds none stops the round.
  while (!waiting_.empty()) {
    OpenIncident* open = book_.find(waiting_.front());
    if (open != nullptr && open->incident.phase == Phase::held) {
      forget_old_starts(now);
      const FleetLimits& limits = registry_.rules().limits;
      if (in_progress_ >= limits.at_once || fleet_starts_.size() >= limits.per_minute) break;
      waiting_.pop_front();
      look(turn, *open);
      continue;
    }
    waiting_.pop_front();
  }
}

Instant Recovery::next() const {
  Instant at = std::min(book_.next(), guard_.next());
  if (!waiting_.empty() && in_progress_ < registry_.rules().limits.at_once && !fleet_starts_.empty()) {
    at = std::min(at, fleet_starts_.front() + 1min + 1ns);
  }
  return at;
}

}  // namespace defib::core
