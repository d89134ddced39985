#include "core/notice.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"

namespace defib::core {

std::string incident_message(const Incident& incident, const Agent* agent) {
  std::string text = incident.evidence;
  std::size_t n = 0;
  for (const Attempt& attempt : incident.attempts) {
    text += fmt::format("{}{} with {} ({}{}{})", n++ == 0 ? ". Tried: " : ", ", name(attempt.kind), attempt.with,
                        name(attempt.result), attempt.detail.empty() ? "" : ": ", clip(attempt.detail, 160));
  }
  if (agent != nullptr && !agent->task.empty())
    text += fmt::format(". It was working on \"{}\"", clip(agent->task, 120));
  return text;
}

std::size_t Notices::fire(Turn& turn, IncidentId incident, const std::string& agent_id, const Telling& telling) {
  const std::vector<std::string>& channels = telling.channels.empty() ? rules_->channels : telling.channels;
  for (const std::string& channel : channels) {
    add(turn,
        {.channel = channel,
         .status = NoticeStatus::firing,
         .incident = incident,
         .severity = telling.severity,
         .message = telling.message,
         .action_required = telling.action_required,
         .agent_id = agent_id,
         .last_heartbeat = telling.last_heartbeat,
         .created_at = turn.now.wall},
        incident != 0);
  }
  return channels.size();
}

void Notices::add(Turn& turn, NoticeRecord record, bool repeats) {
  if (notices_.size() >= kOutboxMax) {
    turn.announce(EventKind::monitor, record.agent_id, record.incident, "notice_dropped",
                  fmt::format("{} notices wait already: this one was not sent: {}", kOutboxMax, record.message));
    return;
  }
  record.id = ++last_id;
  turn.persist(record);
  if (record.incident != 0) by_incident_.emplace(record.incident, record.id);
  Entry& entry = notices_[record.id];
  entry.repeats = repeats;
  entry.record = std::move(record);
  schedule(entry, turn.now.steady);
}

void Notices::schedule(Entry& entry, Instant at) {
  if (entry.due != kNever) due_.erase({entry.due, entry.record.id});
  entry.due = at;
  if (at != kNever) due_.emplace(at, entry.record.id);
}

void Notices::advance(Turn& turn) {
  while (!due_.empty() && due_.begin()->first <= turn.now.steady) {
    Entry& entry = notices_.at(due_.begin()->second);
    schedule(entry, kNever);
    entry.stage = Stage::in_flight;
    turn.effects.list.emplace_back(SendNotice{entry.record});
  }
}

void Notices::on_delivered(Turn& turn, const Delivered& delivered) {
  const auto found = notices_.find(delivered.notice);
  if (found == notices_.end() || found->second.stage != Stage::in_flight) return;
  Entry& entry = found->second;
  NoticeRecord& record = entry.record;
  switch (delivered.end) {
    case DeliveryEnd::done:
      ++turn.counters.notices_sent;
      entry.tries = 0;
      turn.announce(EventKind::monitor, record.agent_id, record.incident, "notice_delivered",
                    fmt::format("told {} ({}): {}", record.channel, name(record.status), clip(record.message, 200)));
      if (!entry.repeats) return finish(turn, delivered.notice);
      record.is_delivered = true;
      turn.persist(record);
      entry.stage = Stage::delivered;
      return schedule(entry, next_repeat(record.incident, turn.now.steady));
    case DeliveryEnd::retry_later: {
      // Its incident is over meanwhile, and the resolve is on its way: arriving behind it, it would stay red.
      if (record.status == NoticeStatus::firing && record.incident != 0 && !entry.repeats) {
        return finish(turn, delivered.notice);
      }
      const Duration backoff =
          std::min<Duration>(kRetryCap, kRetryFirst * (1 << std::min<std::uint32_t>(entry.tries, 9)));
      ++entry.tries;
      entry.stage = Stage::waiting;
      if (entry.tries == 1) {
        turn.announce(EventKind::monitor, record.agent_id, record.incident, "notice_delayed",
                      fmt::format("{} can't be told yet, trying again: {}", record.channel, delivered.detail));
      }
      return schedule(entry, turn.now.steady + std::max(backoff, delivered.retry_after));
    }
    case DeliveryEnd::refused:
      turn.announce(EventKind::monitor, record.agent_id, record.incident, "notice_refused",
                    fmt::format("{} refused the notice: {}", record.channel, delivered.detail));
      return finish(turn, delivered.notice);
  }
}

void Notices::finish(Turn& turn, NoticeId id) {
  const auto found = notices_.find(id);
  if (found == notices_.end()) return;
  schedule(found->second, kNever);
  NoticeRecord record = std::move(found->second.record);
  notices_.erase(found);
  auto [first, last] = by_incident_.equal_range(record.incident);
  for (; first != last; ++first) {
    if (first->second != id) continue;
    by_incident_.erase(first);
    break;
  }
  record.is_done = true;
  turn.persist(std::move(record));
}

void Notices::resolve(Turn& turn, const Incident& incident, const Telling& telling) {
  acknowledged_until_.erase(incident.id);
  std::vector<NoticeId> firing;
  const auto [first, last] = by_incident_.equal_range(incident.id);
  for (auto it = first; it != last; ++it) firing.push_back(it->second);
  std::set<std::string> told;
  for (const NoticeId id : firing) {
    Entry& entry = notices_.at(id);
    if (entry.record.status != NoticeStatus::firing) continue;
    // One that has never left the house is dropped: nobody needs to hear of it any more.
    if (entry.stage != Stage::waiting || entry.tries > 0) told.insert(entry.record.channel);
    if (entry.stage == Stage::in_flight) {
      entry.repeats = false;
    } else {
      finish(turn, id);
    }
  }
  for (const std::string& channel : told) {
    add(turn,
        {.channel = channel,
         .status = NoticeStatus::resolved,
         .incident = incident.id,
         .severity = telling.severity,
         .message = telling.message,
         .action_required = telling.action_required,
         .agent_id = incident.agent_id,
         .last_heartbeat = telling.last_heartbeat,
         .created_at = turn.now.wall},
        false);
  }
}

void Notices::acknowledge(IncidentId incident, Instant now) {
  acknowledged_until_[incident] = now + kAcknowledgedFor;
  const auto [first, last] = by_incident_.equal_range(incident);
  for (auto it = first; it != last; ++it) {
    Entry& entry = notices_.at(it->second);
    if (entry.stage == Stage::delivered) schedule(entry, now + kAcknowledgedFor);
  }
}

Instant Notices::next_repeat(IncidentId incident, Instant now) const {
  const auto found = acknowledged_until_.find(incident);
  return std::max(now + rules_->alert_repeat, found == acknowledged_until_.end() ? now : found->second);
}

void Notices::restore(Turn& turn, const std::vector<NoticeRecord>& notices,
                      const std::map<IncidentId, OpenIncident>& open) {
  for (const auto& [id, incident] : open) {
    if (incident.incident.is_acknowledged) acknowledged_until_[id] = turn.now.steady + kAcknowledgedFor;
  }
  for (const NoticeRecord& record : notices) {
    if (record.is_done || notices_.size() >= kOutboxMax) continue;
    const bool is_firing = record.status == NoticeStatus::firing && record.incident != 0;
    Entry& entry = notices_[record.id];
    entry.record = record;
    entry.repeats = is_firing && open.contains(record.incident);
    if (record.incident != 0) by_incident_.emplace(record.incident, record.id);
    if (is_firing && !entry.repeats) {
      finish(turn, record.id);
    } else if (record.is_delivered) {
      entry.stage = Stage::delivered;
      schedule(entry, next_repeat(record.incident, turn.now.steady));
    } else {
      schedule(entry, turn.now.steady);
    }
  }
}

}  // namespace defib::core
