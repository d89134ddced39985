// The pretend adapters: they do what the engine asks, late, badly or not at all.
#include <algorithm>

#include "sim/world.h"

namespace defib::sim {
namespace {

constexpr Duration kHeardWithin = 10min;

}  // namespace

void World::perform(core::Effects& effects) {
  for (core::Effect& effect : effects.list) {
    if (auto* persist = std::get_if<core::Persist>(&effect)) {
      unwritten_.push_back(std::move(*persist));
      if (is_write_planned_) continue;
      is_write_planned_ = true;
      queue_.add(now_ + Duration(prng_.between(500'000, 15'000'000)), Due::journal);
    } else if (const auto* action = std::get_if<core::PerformAction>(&effect)) {
      start_action(*action);
    } else if (const auto* sent = std::get_if<core::SendCommand>(&effect)) {
      command(*sent);
    } else if (const auto* notice = std::get_if<core::SendNotice>(&effect)) {
      deliveries_.push_back({notice->notice.id, epoch_});
      queue_.add(now_ + from_ms(prng_.between(50, 500)), Due::delivery,
                 static_cast<std::uint32_t>(deliveries_.size() - 1));
    }
  }
}

void World::deliver(const Delivery& delivery) {
  // The receiver has it, even if the monitor died meanwhile and will send it again.
  if (delivery.epoch != epoch_ || !is_up_) return;
  core::Delivered delivered{.notice = delivery.notice};
  if (now_ < channels_fail_until_ || prng_.below(20) == 0) {
    delivered.end = core::DeliveryEnd::retry_later;
    delivered.detail = "connection refused";
  } else {
    ++checkers_.tally().notices;
    checkers_.on_delivered(delivery.notice);
  }
  post(delivered);
}

// ---- Recovery ------------------------------------------------------------------------------------

void World::start_action(const core::PerformAction& action) {
  Action made{.incident = action.incident, .attempt = action.attempt, .epoch = epoch_, .kind = action.step.kind};
  for (std::uint32_t i = 0; i < fleet_.agents.size(); ++i) {
    if (fleet_.agents[i].id == action.agent_id) made.agent = i;
  }
  made.is_by_runner = action.step.with == "runner";
  if (action.step.kind == core::StepKind::replace) set_fenced(made.agent, action.instance_id, true);
  made.new_instance_id = action.new_instance_id;
  made.old_instance_id = action.instance_id;
  choose_end(action, made);
  Duration takes = from_ms(prng_.between(5, 3'000));
  Duration ends = takes + from_ms(prng_.between(5, 2'000));
  if (now_ < scripts_hang_until_ && !made.is_by_runner) {
    ends = std::max<Duration>(action.step.timeout, takes + 1s);
    made.end = core::ActionEnd::failed;
    made.takes_effect = prng_.below(2) == 0;
  }
  actions_.push_back(std::move(made));
  const auto place = static_cast<std::uint32_t>(actions_.size() - 1);
  if (actions_.back().takes_effect) queue_.add(now_ + takes, Due::action_takes, place);
  queue_.add(now_ + ends, Due::action_ends, place);
}

void World::choose_end(const core::PerformAction& action, Action& made) {
  const PretendAgent& agent = fleet_.agents[made.agent];
  const std::uint64_t dice = prng_.below(100);
  if (action.step.kind == core::StepKind::replace && !action.step.allow_two && !action.is_proven_stopped) {
    made.end = core::ActionEnd::refused;
    made.takes_effect = false;
  } else if (made.is_by_runner &&
             (agent.kind != Kind::runner || !agent.has_current || is_cut_off(agent, fleet_.current(agent)))) {
    made.end = core::ActionEnd::refused;
    made.takes_effect = false;
  } else if (now_ < scripts_fail_until_ || dice < 4) {
    made.end = core::ActionEnd::failed;
    made.takes_effect = false;
  } else if (now_ < scripts_lie_until_ || dice < 6) {
    made.takes_effect = false;
  }
}

void World::take_effect(const Action& action) {
  PretendAgent& agent = fleet_.agents[action.agent];
  const bool is_beside = action.kind == core::StepKind::replace;
  const bool is_there = agent.has_current && fleet_.current(agent).condition != Condition::gone;
  if (is_there && !is_beside) fleet_.end(agent.current);
  const Duration boot_time = action.is_by_runner ? Duration(20ms) : from_ms(prng_.between(200, 20'000));
  boot_later(action.agent, boot_time, {.instance_id = action.new_instance_id, .is_beside = is_beside});
}

void World::end_action(const Action& action) {
  // A monitor that has died does not hear how it ended.
  if (action.epoch != epoch_ || !is_up_) return;
  if (action.kind == core::StepKind::replace && action.end == core::ActionEnd::refused) {
    set_fenced(action.agent, action.old_instance_id, false);
    // Until the monitor has read the refusal its answers are still those of before.
    checkers_.on_confusion(action.agent, now_ + kHeardWithin);
  }
  post(core::ActionFinished{
      .incident = action.incident, .attempt = action.attempt, .end = action.end, .detail = "so it went"});
}

// From the start of a replacement on, unless that was refused: a script that failed may have started one.
void World::set_fenced(std::uint32_t agent, std::string_view instance_id, bool is_fenced) {
  for (const std::uint32_t life : fleet_.agents[agent].history) {
    Process& process = fleet_.processes[life];
    if (!process.instance_id.empty() && process.instance_id == instance_id) process.is_fenced = is_fenced;
  }
}

void World::command(const core::SendCommand& sent) {
  for (std::uint32_t i = 0; i < fleet_.agents.size(); ++i) {
    PretendAgent& agent = fleet_.agents[i];
    if (agent.id != sent.agent_id) continue;
    if (sent.command == "grant") {
      agent.grant_left = agent.kind == Kind::runner ? sent.restarts : 0;
      agent.grant_spent = 0;
    }
    if (sent.command != "fence" && sent.command != "stop") continue;
    for (const std::uint32_t life : agent.history) {
      Process& process = fleet_.processes[life];
      if (process.instance_id.empty() || process.instance_id != sent.instance_id) continue;
      if (process.condition == Condition::running && process.is_obedient) queue_.add(now_ + 100ms, Due::obey, life);
    }
  }
}

}  // namespace defib::sim
