#include "sim/journal.h"

#include <algorithm>
#include <variant>

namespace defib::sim {
namespace {

constexpr Duration kCheckpointPeriod = 10s;
constexpr Duration kTurnMax = 20ms;  // From an effect to its write.

}  // namespace

void Journal::apply(const core::Record& record, Instant at) {
  is_empty_ = false;
  if (const auto* agent = std::get_if<core::AgentRecord>(&record)) {
    agents_[agent->key] = *agent;
  } else if (const auto* gone = std::get_if<core::AgentForgotten>(&record)) {
    agents_.erase(gone->key);
    grants_.erase(gone->id);
  } else if (const auto* incident = std::get_if<core::Incident>(&record)) {
    incidents_[incident->id] = *incident;
    last_incident_ = std::max(last_incident_, incident->id);
    drop_old_incidents();
  } else if (const auto* notice = std::get_if<core::NoticeRecord>(&record)) {
    last_notice_ = std::max(last_notice_, notice->id);
    if (notice->is_done) {
      notices_.erase(notice->id);
    } else {
      notices_[notice->id] = *notice;
    }
  } else if (const auto* grant = std::get_if<core::GrantRecord>(&record)) {
    grants_[grant->agent_id] = *grant;
  } else if (const auto* line = std::get_if<core::HistoryRecord>(&record)) {
    last_event_ = std::max(last_event_, line->id);
  } else if (const auto* chunk = std::get_if<core::CheckpointChunk>(&record)) {
    apply_checkpoint(*chunk);
    // It was made a turn earlier.
    known_until_ = at - kTurnMax;
  }
}

void Journal::apply_checkpoint(const core::CheckpointChunk& chunk) {
  const core::AgentKey first = chunk.chunk * core::kCheckpointChunk;
  for (auto at = agents_.lower_bound(first); at != agents_.end(); ++at) {
    const std::size_t place = at->first - first;
    if (place >= chunk.entries.size()) break;
    core::merge(chunk.entries[place], at->second);
  }
}

void Journal::drop_old_incidents() {
  if (incidents_.size() <= 2 * kClosedIncidentsMax) return;
  std::size_t surplus = incidents_.size() - kClosedIncidentsMax;
  for (auto at = incidents_.begin(); at != incidents_.end() && surplus > 0;) {
    if (at->second.phase == core::Phase::closed) {
      at = incidents_.erase(at);
      --surplus;
    } else {
      ++at;
    }
  }
}

core::Snapshot Journal::snapshot(Instant alive) const {
  core::Snapshot snapshot;
  for (const auto& [key, agent] : agents_) snapshot.agents.push_back(agent);
  for (const auto& [id, incident] : incidents_) snapshot.incidents.push_back(incident);
  for (const auto& [id, notice] : notices_) snapshot.notices.push_back(notice);
  for (const auto& [id, grant] : grants_) snapshot.grants.push_back(grant);
  snapshot.known_until = std::max(known_until_, begun_);
  if (alive - kCheckpointPeriod > begun_)
    snapshot.known_until = std::max(snapshot.known_until, alive - kCheckpointPeriod);
  snapshot.is_first_start = is_empty_;
  snapshot.last_incident = last_incident_;
  snapshot.last_notice = last_notice_;
  snapshot.last_event = last_event_;
  return snapshot;
}

}  // namespace defib::sim
