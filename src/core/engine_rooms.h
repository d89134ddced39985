// What an Engine is made of, in the order in which a step goes through it. Private to engine*.cc.
#pragma once

#include "base/text.h"
#include "core/detector.h"
#include "core/engine.h"
#include "core/event.h"
#include "core/guard.h"
#include "core/incident.h"
#include "core/notice.h"
#include "core/recovery.h"
#include "core/registry.h"
#include "core/self_health.h"
#include "core/turn.h"

namespace defib::core {

struct Engine::Rooms {
  Rooms(Rules initial, std::uint64_t seed);

  void notice_gap(Turn& turn);
  void flush_records(Turn& turn);
  AgentView view(const Agent& agent, Instant now) const;
  Answer take(Turn& turn, const BeatReceived& e);
  Answer take(Turn& turn, const RecordWritten& e);
  Answer take(Turn& turn, const Deregistered& e);
  Answer take(Turn& turn, const FailureReported& e);
  Answer take(Turn& turn, const SourceBlind& e);
  Answer take(Turn& turn, const SourceSighted& e);
  Answer take(Turn& turn, const ActionFinished& e);
  Answer take(Turn& turn, const Persisted& e);
  Answer take(Turn& turn, const JournalState& e);
  Answer take(Turn& turn, const Delivered& e);
  Answer take(Turn& turn, const OperatorAsked& e);
  Answer take(Turn& turn, const RulesChanged& e);
  Answer take(Turn& turn, const Restored& e);

  Rules rules;
  SelfHealth health;
  Registry registry;
  Detector detector;
  Guard guard;
  IncidentBook book;
  Notices notices;
  Recovery recovery;
  Counters counters;
  EventId last_event = 0;
  Instant last_step{};
  Instant next_checkpoint = kNever;
  bool has_stepped = false;
};

}  // namespace defib::core
