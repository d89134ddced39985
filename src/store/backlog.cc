#include "store/backlog.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <utility>
#include <variant>

namespace defib::store {

namespace {

// What a later record of the same key replaces; nothing for history, which only adds.
struct Key {
  char table = 0;
  std::uint64_t number = 0;
  std::string text;
  friend auto operator<=>(const Key&, const Key&) = default;
};

struct KeyOf {
  Key operator()(const core::AgentRecord& r) const { return {'a', r.key, {}}; }
  Key operator()(const core::AgentForgotten& r) const { return {'a', r.key, {}}; }
  Key operator()(const core::Incident& r) const { return {'i', r.id, {}}; }
  Key operator()(const core::NoticeRecord& r) const { return {'n', r.id, {}}; }
  Key operator()(const core::GrantRecord& r) const { return {'g', 0, r.agent_id}; }
  Key operator()(const core::HistoryRecord&) const { return {}; }
  Key operator()(const core::CheckpointChunk&) const { return {}; }
};

bool is_history(const Queued& queued) {
  return std::holds_alternative<core::HistoryRecord>(queued.persist.record) && queued.persist.token == 0;
}

}  // namespace

void Backlog::push(Queued queued) {
  const auto* chunk = std::get_if<core::CheckpointChunk>(&queued.persist.record);
  if (chunk != nullptr && queued.persist.token == 0) {
    const std::uint32_t number = chunk->chunk;
    checkpoints_.insert_or_assign(number, std::move(queued));
    return;
  }
  records_.push_back(std::move(queued));
  if (records_.size() > shrink_at_) shrink();
}

std::vector<Queued> Backlog::take(std::size_t count) {
  const auto end = records_.begin() + static_cast<std::ptrdiff_t>(std::min(count, records_.size()));
  std::vector<Queued> taken(std::make_move_iterator(records_.begin()), std::make_move_iterator(end));
  records_.erase(records_.begin(), end);
  if (!records_.empty()) return taken;
  shrink_at_ = records_max_;
  for (auto& [number, queued] : checkpoints_) taken.push_back(std::move(queued));
  checkpoints_.clear();
  return taken;
}

void Backlog::each_history(const std::function<void(const core::HistoryRecord&)>& see) const {
  for (const Queued& queued : records_) {
    if (const auto* line = std::get_if<core::HistoryRecord>(&queued.persist.record)) see(*line);
  }
}

// Makes room for an eighth of the bound at a time, so that a push costs a constant on average.
void Backlog::shrink() {
  drop_replaced();
  const std::size_t target = records_max_ - records_max_ / 8;
  if (records_.size() > target) drop_oldest_history(records_.size() - target);
  shrink_at_ = std::max(records_max_, records_.size() + records_.size() / 8);
}

void Backlog::drop_replaced() {
  std::set<Key> later;
  std::deque<Queued> kept;
  for (auto queued = records_.rbegin(); queued != records_.rend(); ++queued) {
    Key key = std::visit(KeyOf{}, queued->persist.record);
    const bool is_replaced = key.table != 0 && !later.insert(std::move(key)).second;
    if (!is_replaced || queued->persist.token != 0) kept.push_front(std::move(*queued));
  }
  records_ = std::move(kept);
}

void Backlog::drop_oldest_history(std::size_t count) {
  std::size_t left = count;
  std::erase_if(records_, [&left](const Queued& queued) {
    if (left == 0 || !is_history(queued)) return false;
    --left;
    return true;
  });
  dropped_ += count - left;
}

}  // namespace defib::store
