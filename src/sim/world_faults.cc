// The plan carried out: each fault is a few lines of bad luck.
#include <algorithm>

#include "sim/world.h"

namespace defib::sim {
namespace {

// After a mess of two processes everything must be clear again within this.
constexpr Duration kConfusionAfter = 1h;

}  // namespace

void World::strike() {
  const Fault fault = next_fault_;
  note_fault(fault);
  next_fault_ = plan_.next(now_);
  queue_.add(next_fault_.at, Due::fault);
  if (fault.kind <= FaultKind::failure_report) {
    strike_agent(fault);
  } else if (fault.kind <= FaultKind::channels_fail) {
    strike_many(fault);
  } else if (fault.kind <= FaultKind::journal_unwritable) {
    strike_monitor(fault);
  } else {
    ask_operator(fault);
  }
}

void World::strike_agent(const Fault& fault) {
  PretendAgent& agent = fleet_.agents[fault.target];
  if (!fleet_.is_running(agent)) return;
  Process& process = fleet_.current(agent);
  switch (fault.kind) {
    case FaultKind::crash:
      return crash(fault.target);
    case FaultKind::freeze:
      process.condition = Condition::frozen;
      queue_.add(now_ + fault.length, Due::thaw, agent.current, ++process.generation);
      return;
    case FaultKind::clean_stop:
      stop_cleanly(fault.target);
      if (!agent.is_wanted) boot_later(fault.target, fault.length, {});
      return;
    case FaultKind::redeploy:
      stop_cleanly(fault.target);
      if (!agent.is_wanted) boot_later(fault.target, from_ms(prng_.between(300, 5'000)), {});
      return;
    case FaultKind::outside_restart:
      die(fault.target);
      boot_later(fault.target, from_ms(prng_.between(100, 5'000)), {});
      return;
    case FaultKind::clock_jump:
      agent.skew_ms += fault.amount * 1000;
      agent.went_back = agent.went_back || fault.amount < 0;
      return;
    case FaultKind::interval_change:
      if (agent.kind != Kind::named) return;
      process.interval = agent.interval = from_ms(prng_.between(5, 300) * 1000);
      return;
    case FaultKind::replay:
      return replay(fault.target, fault.amount);
    case FaultKind::twin: {
      if (agent.kind == Kind::runner || agent.kind == Kind::ping || fleet_.has_others(agent)) return;
      const std::uint32_t twin = fleet_.start_twin(fault.target, wall_ms());
      announce_life(twin);
      queue_.add(now_ + fault.length, Due::vanish, twin);
      return checkers_.on_confusion(fault.target, now_ + fault.length + kConfusionAfter);
    }
    case FaultKind::failure_report:
      if (agent.kind == Kind::ping) send({.said = Said::failure, .process = agent.current}, false);
      return;
    default:
      return;
  }
}

void World::strike_many(const Fault& fault) {
  const Instant until = now_ + fault.length;
  switch (fault.kind) {
    case FaultKind::mass_crash:
      for (std::uint32_t i = 0; i < fleet_.agents.size(); ++i) {
        if (prng_.below(100) < static_cast<std::uint64_t>(fault.amount)) crash(i);
      }
      return;
    case FaultKind::partition:
      cut_off_until_[fault.target % 4] = until;
      return;
    case FaultKind::redis_outage:
      return redis_goes(fault.length);
    case FaultKind::broker_restart:
      if (now_ >= redis_down_until_) redis_is_seen(true);
      return;
    case FaultKind::scripts_fail:
      scripts_fail_until_ = until;
      return;
    case FaultKind::scripts_lie:
      scripts_lie_until_ = until;
      return;
    case FaultKind::scripts_hang:
      scripts_hang_until_ = until;
      return;
    case FaultKind::channels_fail:
      channels_fail_until_ = until;
      return;
    default:
      return;
  }
}

void World::strike_monitor(const Fault& fault) {
  if (!is_up_) return;
  switch (fault.kind) {
    case FaultKind::monitor_pause:
      // Mostly short ones: a busy host, not a sleeping one.
      paused_until_ = now_ + (prng_.below(3) == 0 ? fault.length : fault.length / 200);
      return;
    case FaultKind::monitor_crash:
      return crash_monitor(fault.length);
    case FaultKind::journal_unwritable:
      if (now_ < journal_bad_until_) return;
      journal_bad_since_ = now_;
      journal_bad_until_ = now_ + fault.length;
      post(core::JournalState{false, "the disk is full"});
      queue_.add(journal_bad_until_, Due::journal_back);
      return;
    default:
      return;
  }
}

// A canary goes out every five seconds, and is missed after ten. What was published meanwhile is lost.
void World::redis_goes(Duration length) {
  if (now_ < redis_down_until_) return;
  redis_down_until_ = now_ + length;
  redis_seen_ = std::max(redis_seen_, now_ - Duration(prng_.between(0, Duration(5s).count())));
  queue_.add(now_ + Duration(prng_.between(100'000'000, Duration(10s).count())), Due::redis_blind);
  queue_.add(redis_down_until_ + from_ms(prng_.between(1, 5'000)), Due::redis_back, 0, prng_.below(2) == 0 ? 1 : 0);
}

void World::redis_is_seen(bool is_restarted) {
  is_redis_blind_ = false;
  redis_seen_ = now_;
  post(core::SourceSighted{core::Source::redis, is_restarted});
}

void World::ask_operator(const Fault& fault) {
  const PretendAgent& agent = fleet_.agents[fault.target];
  core::OperatorAsked asked{.request = ++next_request_, .agent_id = agent.id, .who = "ann"};
  const core::IncidentId incident = checkers_.open_incident(fault.target);
  if (fault.kind == FaultKind::operator_recovers) {
    asked.wish = core::Wish::recover;
    asked.force = prng_.below(2) == 0;
    if (is_up_) checkers_.on_manual_recovery(agent.id);
  } else {
    if (incident == 0) return;
    asked.wish = fault.kind == FaultKind::operator_closes ? core::Wish::close : core::Wish::acknowledge;
    asked.incident = incident;
  }
  post(asked);
}

}  // namespace defib::sim
