// What one step of the engine passes from room to room: the time, what happened so far, the effects.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/effect.h"
#include "core/engine.h"
#include "core/state_table.h"
#include "core/types.h"

namespace defib::core {

// Something about one agent that an incident may care about, in the order in which it happened.
struct Happening {
  enum class Kind : std::uint8_t {
    changed,        // `from` and `to` differ.
    heard,          // A beat of an agent that has an open incident.
    registered,     // A new life wrote its hash.
    ended_again,    // An exit while the agent had failed already.
    granted_start,  // The runner has restarted it within its grant; follows the exit's `changed`.
    new_life,       // A new instance became the current one.
    conflict,       // Two instances beat under one id.
    removed,        // Deregistered: the incident must close, the agent is gone.
  };
  Kind kind = Kind::changed;
  AgentKey key = 0;
  State from = State::starting;
  State to = State::starting;
  Stimulus cause = Stimulus::beat;
  std::uint32_t epoch = 0;   // Of the instance that this is about.
  bool has_identity = true;  // False: a source without instances (ping).
  bool is_conflict = false;  // Two instances beat: verifies nothing.
  std::string text;          // The evidence, in a sentence.
  IncidentId incident = 0;   // For `removed`, whose agent can't be looked up any more.
};

// Commands that follow from a history line bear its id in a range of their own: unique across restarts, and
// apart from those of attempts (act/runner_control).
constexpr std::uint64_t command_id(EventId event) { return (std::uint64_t{1} << 40) + event; }

struct Turn {
  Now now;
  Effects& effects;
  Counters& counters;
  EventId& last_event;
  std::vector<Happening> happenings;
  std::vector<AgentKey> touched;  // Whose journal record must be written.

  // One line of history, to the journal and to whoever listens.
  void announce(EventKind kind, std::string_view agent_id, IncidentId incident, std::string_view what,
                std::string text) {
    HistoryRecord record{.id = ++last_event,
                         .at = now.wall,
                         .kind = kind,
                         .agent_id = std::string(agent_id),
                         .incident = incident,
                         .what = std::string(what),
                         .text = std::move(text)};
    effects.list.emplace_back(Persist{.token = 0, .record = record});
    effects.list.emplace_back(Announce{std::move(record)});
  }
  void persist(Record record, PersistToken token = 0) {
    effects.list.emplace_back(Persist{.token = token, .record = std::move(record)});
  }
};

}  // namespace defib::core
