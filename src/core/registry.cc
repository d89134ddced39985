#include "core/registry.h"

#include <algorithm>

#include "base/check.h"
#include "base/text.h"

namespace defib::core {

Symbols::Symbols() { entries_.push_back({"", 1, 0}); }

Symbol Symbols::acquire(std::string_view text) {
  if (text.empty()) return kEmpty;
  if (const auto found = by_text_.find(text); found != by_text_.end()) {
    ++entries_[found->second].uses;
    return found->second;
  }
  Symbol symbol = 0;
  if (free_.empty()) {
    symbol = static_cast<Symbol>(entries_.size());
    entries_.emplace_back();
  } else {
    symbol = free_.back();
    free_.pop_back();
  }
  entries_[symbol] = {std::string(text), 1, 0};
  by_text_.emplace(entries_[symbol].text, symbol);
  return symbol;
}

void Symbols::release(Symbol symbol) {
  if (symbol == kEmpty) return;
  DEFIB_CHECK(symbol < entries_.size() && entries_[symbol].uses > 0);
  if (--entries_[symbol].uses > 0) return;
  by_text_.erase(entries_[symbol].text);
  entries_[symbol].text = {};
  free_.push_back(symbol);
}

void Symbols::add_stopped(Symbol symbol, int change) {
  if (symbol == kEmpty) return;
  entries_[symbol].stopped += static_cast<std::uint32_t>(change);
  DEFIB_CHECK(entries_[symbol].stopped <= entries_[symbol].uses);
}

Registry::Registry(const Rules& rules) : rules_(&rules) {}

Agent* Registry::find(std::string_view id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &at(found->second);
}

const Agent* Registry::find(std::string_view id) const { return const_cast<Registry*>(this)->find(id); }

Agent& Registry::at(AgentKey key) {
  DEFIB_CHECK(key < key_end());
  return chunks_[key / kCheckpointChunk][key % kCheckpointChunk];
}

const Agent& Registry::at(AgentKey key) const { return const_cast<Registry*>(this)->at(key); }

Agent& Registry::add(std::string_view id) {
  DEFIB_CHECK(!is_full());
  if (free_.empty()) {
    add_chunk();
    // Highest first, so that the lowest is taken first.
    for (AgentKey i = 1; i <= kCheckpointChunk; ++i) free_.push_back(key_end() - i);
  }
  const AgentKey key = free_.back();
  free_.pop_back();
  return take(key, id);
}

Agent& Registry::restore_at(AgentKey key, std::string_view id) {
  while (key >= key_end()) add_chunk();
  return take(key, id);
}

void Registry::finish_restoring() {
  free_.clear();
  for (AgentKey key = key_end(); key-- > 0;) {
    if (!at(key).is_used) free_.push_back(key);
  }
}

void Registry::add_chunk() { chunks_.push_back(std::make_unique<Agent[]>(kCheckpointChunk)); }

Agent& Registry::take(AgentKey key, std::string_view id) {
  Agent& agent = at(key);
  DEFIB_CHECK(!agent.is_used);
  agent.id = id;
  agent.key = key;
  agent.is_used = true;
  DEFIB_CHECK(by_id_.emplace(agent.id, key).second);
  ++counts_[static_cast<std::size_t>(agent.state)];
  choose_policy(agent, true);
  return agent;
}

void Registry::remove(AgentKey key) {
  Agent& agent = at(key);
  DEFIB_CHECK(agent.is_used);
  --counts_[static_cast<std::size_t>(agent.state)];
  if (agent.state == State::stopped) count_stopped(agent, -1);
  types_.release(agent.type);
  hosts_.release(agent.host);
  if (agent.rare) {
    for (const Symbol symbol : agent.rare->label_symbols) labels_.release(symbol);
  }
  by_id_.erase(agent.id);
  agent = Agent{};
  free_.push_back(key);
}

void Registry::set_state(Agent& agent, State state) {
  --counts_[static_cast<std::size_t>(agent.state)];
  ++counts_[static_cast<std::size_t>(state)];
  if (agent.state != State::stopped && state == State::stopped) count_stopped(agent, 1);
  if (agent.state == State::stopped && state != State::stopped) count_stopped(agent, -1);
  agent.state = state;
}

void Registry::count_stopped(const Agent& agent, int change) {
  types_.add_stopped(agent.type, change);
  hosts_.add_stopped(agent.host, change);
  if (!agent.rare) return;
  for (const Symbol symbol : agent.rare->label_symbols) labels_.add_stopped(symbol, change);
}

const Policy& Registry::policy(const Agent& agent) const {
  return agent.policy < rules_->policies.size() ? rules_->policies[agent.policy] : default_policy_;
}

void Registry::choose_policy(Agent& agent, bool is_at_once) {
  const std::string_view type = types_.text(agent.type);
  std::size_t index = 0;
  while (index < rules_->policies.size() && !(glob_match(rules_->policies[index].match_id, agent.id) &&
                                              glob_match(rules_->policies[index].match_type, type))) {
    ++index;
  }
  agent.policy = static_cast<std::uint16_t>(index);
  const Policy& chosen = policy(agent);
  if (!agent.has_own_interval && (is_at_once || chosen.interval > agent.interval)) agent.interval = chosen.interval;
  const auto threshold = static_cast<std::uint16_t>(chosen.missed_beats);
  if (is_at_once || threshold > agent.missed_beats_threshold) agent.missed_beats_threshold = threshold;
}

void Registry::set_symbol(Agent& agent, Symbol Agent::*field, Symbols& symbols, std::string_view text) {
  if (symbols.text(agent.*field) == text) return;
  const bool is_stopped = agent.state == State::stopped;
  const Symbol symbol = symbols.acquire(text);
  if (is_stopped) {
    symbols.add_stopped(agent.*field, -1);
    symbols.add_stopped(symbol, 1);
  }
  symbols.release(agent.*field);
  agent.*field = symbol;
  agent.is_record_dirty = true;
}

void Registry::set_type(Agent& agent, std::string_view type) { set_symbol(agent, &Agent::type, types_, type); }

void Registry::set_host(Agent& agent, std::string_view host) { set_symbol(agent, &Agent::host, hosts_, host); }

void Registry::set_labels(Agent& agent, std::span<const Label> labels) {
  RareFacts& facts = agent.facts();
  const auto is_same = [](const auto& have, const Label& told) {
    return have.first == told.first && have.second == told.second;
  };
  if (std::equal(facts.labels.begin(), facts.labels.end(), labels.begin(), labels.end(), is_same)) return;
  const bool is_stopped = agent.state == State::stopped;
  std::vector<Symbol> symbols;
  facts.labels.clear();
  for (const auto& [key, value] : labels) {
    facts.labels.emplace_back(key, value);
    symbols.push_back(labels_.acquire(std::string(key) + "=" + std::string(value)));
    if (is_stopped) labels_.add_stopped(symbols.back(), 1);
  }
  for (const Symbol symbol : facts.label_symbols) {
    if (is_stopped) labels_.add_stopped(symbol, -1);
    labels_.release(symbol);
  }
  facts.label_symbols = std::move(symbols);
  agent.is_record_dirty = true;
}

AgentRecord Registry::record(const Agent& agent) const {
  AgentRecord record;
  record.key = agent.key;
  record.id = agent.id;
  record.type = types_.text(agent.type);
  record.host = hosts_.text(agent.host);
  record.pid = agent.pid;
  record.instance_id = agent.instance_id;
  if (agent.registered_at_ms != 0) record.registered_at_ms = agent.registered_at_ms;
  if (agent.started_at_ms != 0) record.started_at_ms = agent.started_at_ms;
  if (agent.timestamp_ms != 0) record.timestamp_ms = agent.timestamp_ms;
  if (agent.has_sequence) record.sequence = agent.sequence;
  record.interval_ms = to_ms(agent.interval);
  record.has_own_interval = agent.has_own_interval;
  record.is_runner = agent.is_runner;
  record.source = agent.source;
  record.state = agent.state;
  record.state_since = agent.state_since;
  record.registered = agent.registered;
  record.last_heard = agent.last_heard;
  record.last_heard_wall = agent.last_heard_wall;
  record.first_heard_wall = agent.first_heard_wall;
  record.has_beaten = agent.has_beaten;
  record.is_ended = agent.is_ended;
  record.expects_successor = agent.expects_successor;
  record.missed_beats = agent.missed_beats_threshold;
  record.current_task = agent.task;
  if (agent.task_progress >= 0) record.task_progress = agent.task_progress;
  if (agent.rare) {
    record.capsule = agent.rare->capsule;
    record.labels = agent.rare->labels;
    for (const PastLife& life : agent.rare->past) record.past.push_back(life.instance);
  }
  return record;
}

}  // namespace defib::core
