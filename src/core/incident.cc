#include "core/incident.h"

#include "base/check.h"

namespace defib::core {

OpenIncident& IncidentBook::open(Incident incident) {
  const IncidentId id = incident.id;
  const auto [place, is_new] = open_.try_emplace(id);
  DEFIB_CHECK(is_new && id <= last_id);
  place->second.incident = std::move(incident);
  return place->second;
}

OpenIncident* IncidentBook::find(IncidentId id) {
  const auto found = open_.find(id);
  return found == open_.end() ? nullptr : &found->second;
}

void IncidentBook::close(IncidentId id) {
  OpenIncident* open = find(id);
  DEFIB_CHECK(open != nullptr && open->incident.phase == Phase::closed);
  set_timer(*open, kNever);
  restore_closed(std::move(open->incident));
  open_.erase(id);
}

void IncidentBook::restore_closed(Incident incident) {
  const IncidentId id = incident.id;
  closed_.insert_or_assign(id, std::move(incident));
  if (closed_.size() > closed_max_) closed_.erase(closed_.begin());
}

void IncidentBook::move(OpenIncident& open, Phase to, std::string reason) {
  DEFIB_CHECK(is_legal_move(open.incident.phase, to));
  open.incident.phase = to;
  open.incident.phase_reason = std::move(reason);
}

void IncidentBook::set_timer(OpenIncident& open, Instant at) {
  if (open.timer != kNever) timers_.erase({open.timer, open.incident.id});
  open.timer = at;
  if (at != kNever) timers_.emplace(at, open.incident.id);
}

OpenIncident* IncidentBook::take_due(Instant now) {
  if (timers_.empty() || timers_.begin()->first > now) return nullptr;
  OpenIncident* open = find(timers_.begin()->second);
  DEFIB_CHECK(open != nullptr);
  set_timer(*open, kNever);
  return open;
}

std::vector<Incident> IncidentBook::list(std::optional<bool> open, IncidentId before, std::size_t limit) const {
  std::vector<Incident> out;
  const IncidentId end = before == 0 ? last_id + 1 : before;
  auto from_open = open_.lower_bound(end);
  auto from_closed = closed_.lower_bound(end);
  while (out.size() < limit) {
    const bool has_open = open != std::optional(false) && from_open != open_.begin();
    const bool has_closed = open != std::optional(true) && from_closed != closed_.begin();
    if (!has_open && !has_closed) break;
    if (has_open && (!has_closed || std::prev(from_open)->first > std::prev(from_closed)->first)) {
      out.push_back((--from_open)->second.incident);
    } else {
      out.push_back((--from_closed)->second);
    }
  }
  return out;
}

std::optional<Incident> IncidentBook::get(IncidentId id) const {
  if (const auto found = open_.find(id); found != open_.end()) return found->second.incident;
  if (const auto found = closed_.find(id); found != closed_.end()) return found->second;
  return std::nullopt;
}

}  // namespace defib::core
