// A journal that keeps its records in memory: what a real one would hold after the same writes.
//
// Records apply in the order in which they were written, so that a crash loses a suffix, never a hole.
// One owner thread; no IO.
#pragma once

#include <map>
#include <string>

#include "core/effect.h"

namespace defib::sim {

class Journal {
 public:
  // Closed incidents that a restart gets back; older ones are dropped, open ones never.
  static constexpr std::size_t kClosedIncidentsMax = 1000;

  // `at`: when it was written.
  void apply(const core::Record& record, Instant at);

  // A monitor starts to write at `at`.
  void begin(Instant at) { begun_ = at; }
  // Everything a monitor reads at its start, where the last one lived until `alive`. Entries come in the
  // order of their ids. Beats are certain up to the last checkpoint; a period without one is one in which nobody
  // was heard, unless it began before the monitor did.
  core::Snapshot snapshot(Instant alive) const;

  const std::map<core::AgentKey, core::AgentRecord>& agents() const { return agents_; }
  const std::map<core::IncidentId, core::Incident>& incidents() const { return incidents_; }

 private:
  void apply_checkpoint(const core::CheckpointChunk& chunk);
  void drop_old_incidents();

  std::map<core::AgentKey, core::AgentRecord> agents_;
  std::map<core::IncidentId, core::Incident> incidents_;
  std::map<core::NoticeId, core::NoticeRecord> notices_;
  std::map<std::string, core::GrantRecord> grants_;
  core::IncidentId last_incident_ = 0;
  core::NoticeId last_notice_ = 0;
  core::EventId last_event_ = 0;
  bool is_empty_ = true;
  Instant begun_{};
  Instant known_until_{};
};

}  // namespace defib::sim
