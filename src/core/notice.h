// Telling people: one notice a channel, kept until delivered or refused for good; retries, repeats, resolves.
//
// Pure. Retries grow from 1 s, doubled, to 5 min; a firing notice is repeated every Rules::alert_repeat until
// its incident is acknowledged or over; a resolve goes only where a firing was sent. At most kOutboxMax wait: past
// it a new notice is dropped and counted in the history, since a person is being told of ten thousand others.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/event.h"
#include "core/incident.h"
#include "core/policy.h"
#include "core/registry.h"
#include "core/turn.h"

namespace defib::core {

inline constexpr std::size_t kOutboxMax = 10'000;
inline constexpr Duration kRetryFirst = 1s;
inline constexpr Duration kRetryCap = 5min;
inline constexpr Duration kAcknowledgedFor = 24h;

class Notices {
 public:
  explicit Notices(const Rules& rules) : rules_(&rules) {}
  void set_rules(const Rules& rules) { rules_ = &rules; }

  struct Telling {
    std::vector<std::string> channels;  // Empty: all.
    std::string severity;               // "critical", "warning", "info"
    std::string message;
    std::string action_required;
    WallTime last_heartbeat{};
  };
  // Sends a firing notice for an open incident (0: about an agent only). Returns how many channels it goes to.
  std::size_t fire(Turn& turn, IncidentId incident, const std::string& agent_id, const Telling& telling);
  // The incident is over: where a firing was sent (or is on its way) says so, else forgets it.
  void resolve(Turn& turn, const Incident& incident, const Telling& telling);
  void acknowledge(IncidentId incident, Instant now);

  void on_delivered(Turn& turn, const Delivered& delivered);
  void advance(Turn& turn);
  Instant next() const { return due_.empty() ? kNever : due_.begin()->first; }
  // After the incidents are back: `open` holds those still open; a firing one of another is over.
  void restore(Turn& turn, const std::vector<NoticeRecord>& notices, const std::map<IncidentId, OpenIncident>& open);
  NoticeId last_id = 0;
  std::size_t waiting() const { return notices_.size(); }

 private:
  enum class Stage : std::uint8_t { waiting, in_flight, delivered };
  struct Entry {
    NoticeRecord record;
    Stage stage = Stage::waiting;
    std::uint32_t tries = 0;
    bool repeats = false;  // A firing one of an incident that is still open.
    Instant due = kNever;
  };
  void add(Turn& turn, NoticeRecord record, bool repeats);
  void schedule(Entry& entry, Instant at);
  void finish(Turn& turn, NoticeId id);
  Instant next_repeat(IncidentId incident, Instant now) const;

  const Rules* rules_;
  std::map<NoticeId, Entry> notices_;
  std::multimap<IncidentId, NoticeId> by_incident_;
  std::set<std::pair<Instant, NoticeId>> due_;
  std::map<IncidentId, Instant> acknowledged_until_;  // Of open incidents.
};

// "a1 has failed: ... Tried: restart with exec (failed: ...). It was working on \"x\"."
std::string incident_message(const Incident& incident, const Agent* agent);

}  // namespace defib::core
