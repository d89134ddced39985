#include "sim/checkers.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/text.h"

namespace defib::sim {
namespace {

// What a verdict may lag behind its exact deadline: the timer's granularity, and a step's worth.
constexpr Duration kSlack = 50ms;

}  // namespace

void BlindLog::add(Instant begin, Instant end) {
  while (!spells_.empty() && spells_.back().end >= begin) {
    begin = std::min(begin, spells_.back().begin);
    end = std::max(end, spells_.back().end);
    spells_.pop_back();
  }
  spells_.push_back({begin, end});
  if (spells_.size() > kSpellsMax) spells_.pop_front();
}

Duration BlindLog::within(Instant from, Instant to) const {
  Duration sum{0};
  for (auto spell = spells_.rbegin(); spell != spells_.rend() && spell->end > from; ++spell) {
    sum += std::max(Duration{0}, std::min(spell->end, to) - std::max(spell->begin, from));
  }
  return sum;
}

std::optional<Instant> BlindLog::last_end(Instant from, Duration shortest) const {
  for (auto spell = spells_.rbegin(); spell != spells_.rend() && spell->end > from; ++spell) {
    if (spell->end - std::max(spell->begin, from) > shortest) return spell->end;
  }
  return std::nullopt;
}

Checkers::Checkers(const Fleet& fleet, const core::Rules& rules)
    : fleet_(fleet), rules_(rules), watches_(fleet.agents.size()) {
  for (std::uint32_t i = 0; i < fleet.agents.size(); ++i) by_id_.emplace(fleet.agents[i].id, i);
}

void Checkers::accuse(Instant now, std::string promise, std::string text) {
  if (violation_) return;
  violation_ =
      Violation{std::move(promise),
                fmt::format("at {:.3f} s: {}", static_cast<double>(to_ms(now.time_since_epoch())) / 1000.0, text)};
}

std::optional<std::uint32_t> Checkers::find(std::string_view agent_id) const {
  const auto at = by_id_.find(agent_id);
  if (at == by_id_.end()) return std::nullopt;
  return at->second;
}

// ---- Blindness -----------------------------------------------------------------------------------

void Checkers::on_pause(Instant last_step, Instant was_due, Instant now) {
  for (std::size_t source = 0; source < core::kSourceCount; ++source) {
    maybe_blind_[source].add(last_step, now);
    // Below this a pause is a busy moment; what is longer surely blinds (the smallest interval here is
    // 10 s, hence 500 ms).
    if (now - was_due > 600ms) surely_blind_[source].add(was_due, now);
  }
}

void Checkers::on_restart(Instant known_until, Instant now, const Journal& journal,
                          const std::vector<std::string>& lost) {
  std::array<bool, core::kSourceCount> was_blind{};
  for (std::size_t source = 0; source < core::kSourceCount; ++source) {
    was_blind[source] = blind_now_[source].has_value();
    maybe_blind_[source].add(known_until, now);
    surely_blind_[source].add(known_until, now);
    blind_now_[source].reset();
  }
  std::map<std::string_view, const core::AgentRecord*> records;
  for (const auto& [key, record] : journal.agents()) records.emplace(record.id, &record);
  for (std::uint32_t i = 0; i < watches_.size(); ++i) {
    Watch& watch = watches_[i];
    const auto at = records.find(fleet_.agents[i].id);
    if (at == records.end()) {
      watch = Watch{.confused_until = watch.confused_until};
      continue;
    }
    const core::AgentRecord& record = *at->second;
    watch.believed = record.state;
    watch.is_from_journal = true;
    if (record.has_beaten) watch.heard_early = std::min(watch.heard_early, record.last_heard);
    const Duration interval = from_ms(record.interval_ms);
    watch.interval_early = std::min(watch.interval_early, interval);
    watch.interval_late = std::max(watch.interval_late, interval);
  }
  // The journal keeps no spells of blindness: what was blind before this downtime is forgotten with it. Whoever
  // was not heard since is judged early: a known gap, which is not held against the engine here.
  for (std::uint32_t i = 0; i < watches_.size(); ++i) {
    const auto source = static_cast<std::size_t>(fleet_.agents[i].source);
    const Duration forgotten = maybe_blind_[source].within(watches_[i].heard_early, known_until);
    if (was_blind[source] || forgotten > 0ns) on_confusion(i, now + 30min);
  }
  for (const std::string& id : lost) {
    if (const auto agent = find(id)) on_confusion(*agent, now + 30min);
  }
  waiting_.clear();
  acting_.clear();
  // What was said but not kept may be said again.
  asked_ = acknowledged_;
  for (auto at = open_.begin(); at != open_.end();) {
    const auto kept = journal.incidents().find(at->first);
    const bool is_open = kept != journal.incidents().end() && kept->second.phase != core::Phase::closed;
    if (!is_open && watches_[at->second.agent].open == at->first) watches_[at->second.agent].open = 0;
    at = is_open ? std::next(at) : open_.erase(at);
  }
}

void Checkers::on_blind(core::Source source, Instant since, Instant now) {
  const auto index = static_cast<std::size_t>(source);
  if (!blind_now_[index]) blind_now_[index] = {since, now};
}

void Checkers::on_sight(core::Source source, Instant now, bool is_restarted) {
  const auto index = static_cast<std::size_t>(source);
  if (is_restarted) broker_restarted_[index] = now;
  if (!blind_now_[index]) return;
  maybe_blind_[index].add(blind_now_[index]->first, now);
  surely_blind_[index].add(blind_now_[index]->second, now);
  blind_now_[index].reset();
}

void Checkers::on_confusion(std::uint32_t agent, Instant until) {
  watches_[agent].confused_until = std::max(watches_[agent].confused_until, until);
}

// ---- What was heard ------------------------------------------------------------------------------

void Checkers::on_answer(Instant now, const Message& message, core::Answer answer) {
  const Process& process = fleet_.processes[message.process];
  Watch& watch = watches_[process.agent];
  if (message.said == Said::beat) ++tally_.beats;
  check_answer(now, message, answer);
  if (answer == core::Answer::accepted) hear(now, watch, message);
}

void Checkers::hear(Instant now, Watch& watch, const Message& message) {
  const Process& process = fleet_.processes[message.process];
  const PretendAgent& agent = fleet_.agents[process.agent];
  const bool is_current = agent.has_current && agent.current == message.process;
  const bool was_known = std::exchange(watch.is_known, true);
  switch (message.said) {
    case Said::registration:
      // A hash that is told late describes a life that is known already.
      if (process.sequence_accepted > 0 || !is_current) break;
      // Registering again and again without a beat renews no grace.
      if (!was_known || watch.believed != core::State::starting) watch.registered = now;
      watch.is_stopped = false;
      if (watch.believed != core::State::failed) watch.has_beaten = false;
      break;
    case Said::goodbye_beat:
    case Said::goodbye_hash:
      // By the rule a stop that its clock puts before its start belongs to an earlier life.
      if (is_current && message.timestamp_ms >= process.registered_at_ms) watch.is_stopped = true;
      watch.must_be_healthy = false;
      break;
    case Said::exit:
    case Said::failure:
      watch.is_reported = true;
      watch.is_self_restarted = message.is_restarted;
      watch.must_be_healthy = false;
      break;
    case Said::beat:
      if (process.is_goodbye_heard) break;
      watch.has_beaten = true;
      watch.is_from_journal = false;
      watch.heard_early = watch.heard_late = now;
      watch.heard_process = message.process;
      watch.interval_early = watch.interval_late = message.interval;
      watch.is_reported = watch.is_stopped = watch.is_self_restarted = false;
      watch.must_be_healthy = is_current;
      touched_.push_back(process.agent);
      break;
  }
}

void Checkers::check_answer(Instant now, const Message& message, core::Answer answer) {
  const Process& process = fleet_.processes[message.process];
  const PretendAgent& agent = fleet_.agents[process.agent];
  if (message.said != Said::beat || agent.kind == Kind::ping) return;
  if (now < watches_[process.agent].confused_until) return;
  const bool is_old = message.sequence <= process.sequence_accepted;
  const auto who = [&] {
    return fmt::format("{} life {} {} seq {} (accepted up to {}) answered {}", agent.id, process.life,
                       process.instance_id, message.sequence, process.sequence_accepted, name(answer));
  };
  if (process.is_fenced && answer == core::Answer::accepted) {
    accuse(now, "a fenced instance never makes an agent healthy", who());
  }
  if (fleet_.has_others(agent)) return;
  // Checkpoints hold no timestamps: until it is heard again, a plain life's old beat may look like a restart.
  const bool is_vague = watches_[process.agent].is_from_journal && process.instance_id.empty();
  if ((message.is_replay || is_old) && answer == core::Answer::accepted && !is_vague) {
    accuse(now, "old beats played again revive nobody", who());
  }
  const bool is_current = agent.has_current && agent.current == message.process && process.condition != Condition::gone;
  // A plain life is known once one of its beats was accepted; a named one by its name.
  // unless the clock went back, since then its start lies before its predecessor's.
  const bool is_plain_to_see = process.sequence_accepted > 0 || (!process.instance_id.empty() && !agent.went_back);
  const bool is_over = process.is_fenced || process.is_end_heard || process.is_goodbye_heard;
  // A plain life that leaps ahead, after blindness, while its clock went back looks like one played again.
  const bool is_leap =
      process.instance_id.empty() && agent.went_back && message.sequence > process.sequence_accepted + 8;
  if (is_current && is_plain_to_see && !is_old && !is_over && !is_leap && answer != core::Answer::accepted) {
    accuse(now, "a living instance's beat counts", who());
  }
}

// ---- Deadlines -----------------------------------------------------------------------------------

Duration Checkers::needed_silence(const Watch& watch, const PretendAgent& agent, Duration interval) const {
  const core::Policy& policy = rules_.policies[static_cast<std::size_t>(agent.kind)];
  if (!watch.has_beaten) return core::startup_grace(policy, interval);
  return policy.missed_beats * interval + core::jitter_grace(interval);
}

Instant Checkers::must_be_found_by(std::uint32_t index, Instant now) const {
  const Watch& watch = watches_[index];
  const PretendAgent& agent = fleet_.agents[index];
  const bool is_watched = watch.is_known && !watch.is_stopped && watch.believed != core::State::failed &&
                          watch.believed != core::State::stopped;
  const auto source = static_cast<std::size_t>(agent.source);
  if (!is_watched || blind_now_[source] || now < watch.confused_until || fleet_.has_others(agent)) return kNever;
  const Duration interval = watch.has_beaten ? watch.interval_late : agent.interval;
  const Instant from = watch.has_beaten ? watch.heard_late : std::max(watch.registered, watch.believed_since);
  Instant by = from + needed_silence(watch, agent, interval) + maybe_blind_[source].within(from, now);
  const Duration reprieve = interval + core::jitter_grace(interval);
  if (const auto end = maybe_blind_[source].last_end(from, 0ns)) by = std::max(by, *end + reprieve);
  if (broker_restarted_[source] > from) by = std::max(by, broker_restarted_[source] + reprieve);
  return by + kSlack;
}

void Checkers::check_found(std::uint32_t index, Instant now) {
  const Instant by = must_be_found_by(index, now);
  if (now < by) return;
  const Watch& watch = watches_[index];
  accuse(
      now, "no dead agent is found later than its deadline",
      fmt::format("{} is still {} though it was last heard {} ago and had to be found {} ago", fleet_.agents[index].id,
                  name(watch.believed), human_duration(now - watch.heard_late), human_duration(now - by)));
}

// It has just become `failed`.
void Checkers::check_verdict(Instant now, std::uint32_t index) {
  const Watch& watch = watches_[index];
  const PretendAgent& agent = fleet_.agents[index];
  ++tally_.verdicts;
  if (watch.is_reported || now < watch.confused_until || fleet_.has_others(agent)) return;
  const auto source = static_cast<std::size_t>(agent.source);
  const Duration interval = watch.has_beaten ? watch.interval_early : agent.interval;
  const Instant from = watch.has_beaten ? watch.heard_early : watch.registered;
  const Duration blind = surely_blind_[source].within(from, now);
  const Duration needed = needed_silence(watch, agent, interval);
  const Duration silence = now - from - blind;
  const auto numbers = [&] {
    return fmt::format("{} failed after {} of silence of which {} blind, needed {}", agent.id,
                       human_duration(now - from), human_duration(blind), human_duration(needed));
  };
  if (blind_now_[source]) accuse(now, "a blind monitor judges nobody", numbers());
  if (silence + kTolerance < needed) accuse(now, "nobody fails before the deadline", numbers());
  const Duration grace = core::jitter_grace(interval);
  const auto end = surely_blind_[source].last_end(from, interval + 2 * grace);
  if (watch.has_beaten && end && now + kTolerance < *end + interval + grace) {
    accuse(now, "after blindness everyone has one interval and grace", numbers());
  }
  if (watch.has_beaten && broker_restarted_[source] > from &&
      now + kTolerance < broker_restarted_[source] + interval + grace) {
    accuse(now, "after a broker's restart everyone has one interval and grace", numbers());
  }
  if (fleet_.is_running(agent)) ++tally_.unheard;
  const bool is_exact = watch.has_beaten && watch.heard_early == watch.heard_late &&
                        maybe_blind_[source].within(from, now) == 0ns && broker_restarted_[source] <= from;
  if (is_exact) tally_.lateness_us.push_back((silence - needed).count() / 1000);
}

}  // namespace defib::sim
