#include "core/guard.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>

#include "base/text.h"

namespace defib::core {

void Guard::on_change(const Happening& happening, Instant now) {
  if (happening.kind == Happening::Kind::removed) {
    missing_.erase(happening.key);
    return;
  }
  if (happening.kind != Happening::Kind::changed) return;
  if (happening.from == State::missing) missing_.erase(happening.key);
  if (happening.to == State::missing) missing_.insert(happening.key);
  if (happening.to == State::failed) failed_.emplace_back(now, happening.key);
  is_changed_ = true;
}

std::set<AgentKey> Guard::bad_now(Instant now) {
  const Duration window = registry_.rules().guard.within;
  while (!failed_.empty() && now - failed_.front().first > window) failed_.pop_front();
  std::set<AgentKey> bad = missing_;
  for (const auto& [at, key] : failed_) {
    if (registry_.is_used(key) && registry_.at(key).state == State::failed) bad.insert(key);
  }
  return bad;
}

bool Guard::is_too_many(std::uint32_t bad, std::uint32_t all) const {
  const GuardRule& rule = registry_.rules().guard;
  return bad >= rule.at_least && std::uint64_t{bad} * 100 > std::uint64_t{all} * rule.share_percent;
}

// The narrowest crowd that is too large: a host, type or label says more than the fleet.
std::optional<Guard::Crowd> Guard::worst_crowd(const std::set<AgentKey>& bad) const {
  std::map<std::pair<Scope, Symbol>, std::uint32_t> tally;
  for (const AgentKey key : bad) {
    const Agent& agent = registry_.at(key);
    if (agent.host != Symbols::kEmpty) ++tally[{Scope::host, agent.host}];
    if (agent.type != Symbols::kEmpty) ++tally[{Scope::type, agent.type}];
    if (!agent.rare) continue;
    for (const Symbol symbol : agent.rare->label_symbols) ++tally[{Scope::label, symbol}];
  }
  std::optional<Crowd> worst;
  for (const auto& [group, count] : tally) {
    const auto& [scope, symbol] = group;
    const Symbols& symbols = scope == Scope::host   ? registry_.hosts()
                             : scope == Scope::type ? registry_.types()
                                                    : registry_.labels();
    const Crowd crowd{scope, symbol, count, symbols.active(symbol)};
    if (!is_too_many(crowd.bad, crowd.all)) continue;
    // What all of the failed share comes first; among those, where most of the group has failed.
    const auto rank = [&](const Crowd& c) { return std::pair(c.bad, -static_cast<std::int64_t>(c.all)); };
    if (!worst || rank(crowd) > rank(*worst)) worst = crowd;
  }
  if (worst) return worst;
  const auto& counts = registry_.counts();
  std::uint64_t all = 0;
  for (std::size_t state = 0; state < kStateCount; ++state) {
    if (static_cast<State>(state) != State::stopped) all += counts[state];
  }
  const Crowd fleet{Scope::fleet, Symbols::kEmpty, static_cast<std::uint32_t>(bad.size()),
                    static_cast<std::uint32_t>(all)};
  if (is_too_many(fleet.bad, fleet.all)) return fleet;
  return std::nullopt;
}

bool Guard::refresh(Instant now) {
  if (hold_) hold_->looked = now;
  // A tally costs about a microsecond for each of the bad: never more than about half the time.
  const auto cost = std::chrono::microseconds(2 * (missing_.size() + failed_.size()));
  if (!hold_ && tallied_ != Instant{} && (!is_changed_ || now - tallied_ < cost) && now - tallied_ < 1s) return false;
  is_changed_ = false;
  tallied_ = now;
  const std::optional<Crowd> crowd = worst_crowd(bad_now(now));
  if (!hold_) {
    if (!crowd) return false;
    hold_ = Hold{crowd->scope, crowd->symbol, now, now, false, describe(*crowd)};
    return true;
  }
  if (!crowd) {
    const bool was_holding = is_holding();
    end_reason_ = "beats have returned";
    hold_.reset();
    return was_holding;
  }
  if (hold_->is_released) return false;
  hold_->scope = crowd->scope;
  hold_->symbol = crowd->symbol;
  hold_->reason = describe(*crowd);
  if (now - hold_->since < registry_.rules().guard.holds_at_most) return false;
  hold_->is_released = true;
  end_reason_ = fmt::format("it has held for {}; recovery goes on at the fleet's limit",
                            human_duration(registry_.rules().guard.holds_at_most));
  return true;
}

void Guard::end_by_hand() {
  if (!hold_) return;
  hold_->is_released = true;
  end_reason_ = "ended by hand";
}

std::optional<std::string> Guard::holds(const Agent& agent, Instant now) {
  if (!hold_) refresh(now);
  if (!is_holding() || !concerns(agent)) return std::nullopt;
  return hold_->reason;
}

bool Guard::concerns(const Agent& agent) const {
  switch (hold_->scope) {
    case Scope::fleet:
      return true;
    case Scope::host:
      return agent.host == hold_->symbol;
    case Scope::type:
      return agent.type == hold_->symbol;
    case Scope::label:
      return agent.rare && std::find(agent.rare->label_symbols.begin(), agent.rare->label_symbols.end(),
                                     hold_->symbol) != agent.rare->label_symbols.end();
  }
  return true;
}

std::string Guard::scope_words(Scope scope, Symbol symbol) const {
  switch (scope) {
    case Scope::fleet:
      return "the fleet";
    case Scope::host:
      return "host " + registry_.hosts().text(symbol);
    case Scope::type:
      return "type " + registry_.types().text(symbol);
    case Scope::label:
      return "label " + registry_.labels().text(symbol);
  }
  return {};
}

std::string Guard::describe(const Crowd& crowd) const {
  const GuardRule& rule = registry_.rules().guard;
  return fmt::format("{} of {} agents of {} are missing or failed within {}, more than {} %: recovery holds there",
                     crowd.bad, crowd.all, scope_words(crowd.scope, crowd.symbol), human_duration(rule.within),
                     rule.share_percent);
}

}  // namespace defib::core
