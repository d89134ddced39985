// Everything that can enter the core. An event borrows its text until Engine::step returns.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/effect.h"
#include "core/policy.h"
#include "core/types.h"

namespace defib::core {

// A message of an instance. The answer to the sender is in Effects::answers.
struct BeatReceived {
  Source source = Source::endpoint;
  Beat beat;
};

// The agent's hash `agent:{id}` was written (HSET) or read back: registration and goodbye.
struct RecordWritten {
  Source source = Source::endpoint;
  std::string_view agent_id;
  std::optional<std::int64_t> registered_at_ms;
  std::optional<std::int64_t> stopped_at_ms;
  std::string_view type;
  std::string_view host;
  std::int64_t pid = 0;
  std::uint64_t connection = 0;
};

// `DEL agent:{id}`: the agent leaves the table, its incident closes.
struct Deregistered {
  std::string_view agent_id;
};

// `/ping/{id}/fail` or a non-zero exit code there: the agent itself says that it failed.
struct FailureReported {
  Source source = Source::http;
  std::string_view agent_id;
  std::string_view detail;
};

// A source went blind, or sees again. `since` is its last proven sight. (Redis; rule 6.)
struct SourceBlind {
  Source source = Source::redis;
  Instant since{};
  std::string_view reason;
};
struct SourceSighted {
  Source source = Source::redis;
  bool is_restarted = false;  // The broker's run_id changed: everyone gets one interval and grace.
};

// The adapter's word on an action that PerformAction started.
enum class ActionEnd : std::uint8_t { done, failed, refused };
struct ActionFinished {
  IncidentId incident = 0;
  std::uint32_t attempt = 0;
  ActionEnd end = ActionEnd::done;
  std::string_view detail;
};

// The store has this record on disk (synchronous), or can't write any more, or can again.
struct Persisted {
  PersistToken token = 0;
};
struct JournalState {
  bool is_writable = true;
  std::string_view reason;
};

// A notice reached its channel, or was refused for good; retrying is the core's business.
enum class DeliveryEnd : std::uint8_t { done, retry_later, refused };
struct Delivered {
  NoticeId notice = 0;
  DeliveryEnd end = DeliveryEnd::done;
  std::string_view detail;
  Duration retry_after{0};  // Where the receiver asked for it; 0: the core's own back-off.
};

// An operator's wish; the answer is the effect OperatorAnswer with the same request.
enum class Wish : std::uint8_t { recover, acknowledge, close, end_guard };
struct OperatorAsked {
  std::uint64_t request = 0;
  Wish wish = Wish::recover;
  std::string_view agent_id;  // recover
  IncidentId incident = 0;    // acknowledge, close
  bool force = false;         // recover a healthy agent
  std::string_view who;       // For the record: address or user.
};

struct RulesChanged {
  const Rules* rules = nullptr;  // Borrowed for the step; copied.
};

// What the journal held, once, before anything else.
struct Restored {
  const Snapshot* snapshot = nullptr;  // Borrowed for the step.
};

using Event = std::variant<BeatReceived, RecordWritten, Deregistered, FailureReported, SourceBlind, SourceSighted,
                           ActionFinished, Persisted, JournalState, Delivered, OperatorAsked, RulesChanged, Restored>;

}  // namespace defib::core
