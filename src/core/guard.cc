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

void Guard::restore(const Agent& agent, Instant now) {
  if (agent.state == State::missing) missing_.insert(agent.key);
  if (agent.state == State::failed && agent.incident != 0) failed_.emplace_back(now, agent.key);
  is_changed_ = true;
}

std::set<AgentKey> Guard::bad_now(Instant now) {
  const Duration window = registry_.rules().guard.within;
  while (!failed_.empty() && now - failed_.front().first > window) failed_.pop_front();
  std::set<AgentKey> bad = missing_;
  for (const auto& [at, key] : failed_) {
    if (is_down(key)) bad.insert(key);
  }
  return bad;
}

bool Guard::is_down(AgentKey key) const {
  if (!registry_.is_used(key)) return false;
  const State state = registry_.at(key).state;
  return state == State::failed || state == State::missing;
}

bool Guard::is_too_many(std::uint32_t bad, std::uint32_t all) const {
  const GuardRule& rule = registry_.rules().guard;
  return bad >= rule.at_least && std::uint64_t{bad} * 100 > std::uint64_t{all} * rule.share_percent;
}

// All groups of which too many are bad. First what all of the bad share and few others do: a host, type or
// label says more than the fleet.
std::vector<Guard::Crowd> Guard::crowds_among(const std::set<AgentKey>& bad) const {
  std::map<std::pair<Scope, Symbol>, std::uint32_t> tally;
  for (const AgentKey key : bad) {
    const Agent& agent = registry_.at(key);
    if (agent.host != Symbols::kEmpty) ++tally[{Scope::host, agent.host}];
    if (agent.type != Symbols::kEmpty) ++tally[{Scope::type, agent.type}];
    if (!agent.rare) continue;
    for (const Symbol symbol : agent.rare->label_symbols) ++tally[{Scope::label, symbol}];
  }
  std::vector<Crowd> crowds;
  for (const auto& [group, count] : tally) {
    const auto& [scope, symbol] = group;
    const Symbols& symbols = scope == Scope::host   ? registry_.hosts()
                             : scope == Scope::type ? registry_.types()
                                                    : registry_.labels();
    const Crowd crowd{scope, symbol, count, symbols.active(symbol)};
    if (is_too_many(crowd.bad, crowd.all)) crowds.push_back(crowd);
  }
  std::stable_sort(crowds.begin(), crowds.end(),
                   [](const Crowd& a, const Crowd& b) { return a.bad != b.bad ? a.bad > b.bad : a.all < b.all; });
  const auto& counts = registry_.counts();
  std::uint64_t all = 0;
  for (std::size_t state = 0; state < kStateCount; ++state) {
    if (static_cast<State>(state) != State::stopped) all += counts[state];
  }
  const Crowd fleet{Scope::fleet, Symbols::kEmpty, static_cast<std::uint32_t>(bad.size()),
                    static_cast<std::uint32_t>(all)};
  if (!is_too_many(fleet.bad, fleet.all)) return crowds;
  // Where no group holds nearly all of the bad, it is the fleet.
  const bool is_named = !crowds.empty() && crowds.front().bad * 10 >= fleet.bad * 9 && crowds.front().all < fleet.all;
  crowds.insert(is_named ? crowds.end() : crowds.begin(), fleet);
  return crowds;
}

bool Guard::refresh(Instant now) {
  // A tally costs about a microsecond for each of the bad: never more than about half the time.
  const auto cost = std::chrono::microseconds(2 * (missing_.size() + failed_.size()));
  const Duration age = now - tallied_;
  if (tallied_ != Instant{} && (age < cost || (!is_changed_ && age < 1s))) return false;
  is_changed_ = false;
  tallied_ = now;

  std::set<AgentKey> bad = bad_now(now);
  // After a release only who falls anew counts: another crowd may hold again.
  if (hold_ && !hold_->is_released) {
    std::erase_if(hold_->down, [&](AgentKey key) { return !is_down(key); });
    bad.insert(hold_->down.begin(), hold_->down.end());
  }
  std::vector<Crowd> crowds = crowds_among(bad);
  if (crowds.empty()) {
    const bool was_holding = is_holding();
    if (was_holding) end_reason_ = "beats have returned";
    hold_.reset();
    return was_holding;
  }
  const bool is_new = !hold_.has_value();
  if (is_new) hold_ = Hold{.crowds = {}, .down = {}, .since = now};
  hold_->crowds = std::move(crowds);
  hold_->down = std::move(bad);
  if (is_new || hold_->is_released) return is_new;
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
  refresh(now);
  if (!is_holding()) return std::nullopt;
  for (const Crowd& crowd : hold_->crowds) {
    if (concerns(crowd, agent)) return describe(crowd);
  }
  return std::nullopt;
}

bool Guard::concerns(const Crowd& crowd, const Agent& agent) {
  switch (crowd.scope) {
    case Scope::fleet:
      return true;
    case Scope::host:
      return agent.host == crowd.symbol;
    case Scope::type:
      return agent.type == crowd.symbol;
    case Scope::label:
      return agent.rare && std::find(agent.rare->label_symbols.begin(), agent.rare->label_symbols.end(),
                                     crowd.symbol) != agent.rare->label_symbols.end();
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
