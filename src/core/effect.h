// Everything that the core asks of the world, as data. Effects own their text; the daemon performs
// them after the step, in order, and their ends come back as events.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/policy.h"
#include "core/types.h"

namespace defib::core {

using PersistToken = std::uint64_t;  // 0: nobody waits for it.
using NoticeId = std::uint64_t;
using EventId = std::uint64_t;   // Counts from 1, goes on across restarts; SSE's id.
using AgentKey = std::uint32_t;  // The agent's place in the table; stable while it is known.

// ---- What the journal keeps ------------------------------------------------------------------------

// One life of an agent that is not the current one: superseded, or fenced.
struct PastInstance {
  std::string instance_id;     // Empty for a plain client.
  std::uint64_t sequence = 0;  // The last one heard.
  bool is_fenced = false;
  friend bool operator==(const PastInstance&, const PastInstance&) = default;
};

// All that brings an agent back after a restart of the monitor. Written at registration and at each
// change of state or instance; last_heard and sequence are refreshed by Checkpoint.
struct AgentRecord {
  AgentKey key = 0;
  std::string id;
  std::string type;
  std::string host;
  std::int64_t pid = 0;
  std::string instance_id;
  std::optional<std::int64_t> registered_at_ms;
  std::optional<std::int64_t> started_at_ms;
  std::optional<std::int64_t> timestamp_ms;  // The sender's, of the last accepted beat.
  std::optional<std::uint64_t> sequence;
  std::int64_t interval_ms = 30'000;
  bool has_own_interval = false;  // From a beat, not from the policy.
  bool is_runner = false;
  Source source = Source::endpoint;
  State state = State::starting;
  Instant state_since{};
  Instant registered{};  // When this life was first heard of.
  Instant last_heard{};  // Only where has_beaten.
  WallTime last_heard_wall{};
  WallTime first_heard_wall{};
  bool has_beaten = false;
  bool is_ended = false;           // The current instance has exited.
  bool expects_successor = false;  // The current instance was fenced: nobody is current.
  std::uint32_t missed_beats = 3;  // The threshold in force.
  std::string current_task;
  std::optional<double> task_progress;
  std::string capsule;
  std::vector<std::pair<std::string, std::string>> labels;
  std::vector<PastInstance> past;
  friend bool operator==(const AgentRecord&, const AgentRecord&) = default;
};

// When an agent was last heard (registered, where its life has not beaten), moved by the blind time since: silence
// counts on from here after a restart, which knows nothing of earlier blindness.
struct CheckpointEntry {
  Instant last_heard{};
  std::int64_t last_heard_wall_ms = 0;
  std::uint64_t sequence = 0;
  std::int64_t timestamp_ms = 0;  // The sender's; 0: none.
  friend bool operator==(const CheckpointEntry&, const CheckpointEntry&) = default;
};
// A run of keys from chunk * kCheckpointChunk on; entries of unused keys are zero.
inline constexpr std::uint32_t kCheckpointChunk = 1024;
struct CheckpointChunk {
  std::uint32_t chunk = 0;
  std::vector<CheckpointEntry> entries;
  friend bool operator==(const CheckpointChunk&, const CheckpointChunk&) = default;
};

// Brings a record up to its agent's entry. Where the record is newer, because the key has passed to another agent
// or a new life began since the checkpoint, nothing changes.
void merge(const CheckpointEntry& entry, AgentRecord& record);

enum class NoticeStatus : std::uint8_t { firing, resolved };
std::string_view name(NoticeStatus);

// One message to one channel, kept in the outbox until delivered or refused.
struct NoticeRecord {
  NoticeId id = 0;
  std::string channel;
  NoticeStatus status = NoticeStatus::firing;
  IncidentId incident = 0;
  std::string severity;  // "critical", "warning", "info"
  std::string message;   // For a person: who, what, since when, what was tried.
  std::string action_required;
  std::string agent_id;
  WallTime last_heartbeat{};  // 0: never.
  WallTime created_at{};
  bool is_delivered =
      false;  // A firing one stays in the outbox until its incident is over: it repeats, and is resolved.
  bool is_done = false;
  friend bool operator==(const NoticeRecord&, const NoticeRecord&) = default;
};

// Restarts that a runner may make by itself, journalled before it hears of them.
struct GrantRecord {
  std::string agent_id;
  std::string instance_id;
  std::uint32_t restarts = 0;
  std::uint32_t spent = 0;
  friend bool operator==(const GrantRecord&, const GrantRecord&) = default;
};

// One line of history: what changed, in a sentence. Also an SSE event.
enum class EventKind : std::uint8_t { agent, incident, attempt, monitor };
std::string_view name(EventKind);
struct HistoryRecord {
  EventId id = 0;
  WallTime at{};
  EventKind kind = EventKind::agent;
  std::string agent_id;  // Empty for `monitor`.
  IncidentId incident = 0;
  std::string what;  // A short word: "missing", "failed", "verified", "blind", ...
  std::string text;  // The sentence, with numbers.
  friend bool operator==(const HistoryRecord&, const HistoryRecord&) = default;
};

struct AgentForgotten {
  AgentKey key = 0;
  std::string id;
  friend bool operator==(const AgentForgotten&, const AgentForgotten&) = default;
};

using Record =
    std::variant<AgentRecord, AgentForgotten, Incident, NoticeRecord, GrantRecord, HistoryRecord, CheckpointChunk>;

// Write this. With a token the record must be on disk (synchronous=FULL) before Persisted{token}.
struct Persist {
  PersistToken token = 0;
  Record record;
};

// What the store reads back at the start. Instants are already in this boot's scale (rule 6).
struct Snapshot {
  std::vector<AgentRecord> agents;    // With checkpoints merged in.
  std::vector<Incident> incidents;    // Open ones, and the newest closed ones.
  std::vector<NoticeRecord> notices;  // Not yet done.
  std::vector<GrantRecord> grants;
  // The last moment that the journal is sure of: nothing heard after it is in here.
  Instant known_until{};
  bool is_first_start = true;
  IncidentId last_incident = 0;
  NoticeId last_notice = 0;
  EventId last_event = 0;
};

// ---- What adapters do ------------------------------------------------------------------------------

// Make one attempt. It is journalled already; the adapter must not repeat it.
struct PerformAction {
  IncidentId incident = 0;
  std::uint32_t attempt = 0;
  Step step;
  std::string agent_id;
  std::string agent_type;
  std::string host;
  std::int64_t pid = 0;
  std::string instance_id;      // The old instance's, empty where unknown.
  std::string new_instance_id;  // DEFIB_INSTANCE for the successor.
  std::string current_task;     // The open task, for DEFIB_TASK.
  std::optional<double> task_progress;
  std::string capsule;
  std::string reason;
  // The old instance is known to have ended (exit or goodbye). Where false, `replace` needs a proof of
  // its own or step.allow_two, else it ends as `refused`.
  bool is_proven_stopped = false;
};

// A command on the agent's control channel `defib:control:{agentId}`.
struct SendCommand {
  std::uint64_t id = 0;
  std::string command;  // "restart", "stop", "fence", "interrupt", "grant"
  std::string agent_id;
  std::string instance_id;  // Empty: any.
  std::string reason;
  Duration expires_in = 60s;
  std::uint32_t restarts = 0;  // For "grant".
};

struct SendNotice {
  NoticeRecord notice;
};

// The same record goes to the journal by Persist; this is for SSE, the log and `defib events`.
struct Announce {
  HistoryRecord record;
};

struct OperatorAnswer {
  std::uint64_t request = 0;
  unsigned status = 200;  // HTTP's meaning: 200, 404, 409.
  std::string code;       // "" or e.g. "not_found", "healthy"
  std::string message;
  std::string hint;
  IncidentId incident = 0;
};

using Effect = std::variant<Persist, PerformAction, SendCommand, SendNotice, Announce, OperatorAnswer>;

struct Effects {
  std::vector<Effect> list;     // In the order in which they must be performed.
  std::vector<Answer> answers;  // One for each event of the step, in order; accepted where none applies.

  void clear() {
    list.clear();
    answers.clear();
  }
};

}  // namespace defib::core
