// The vocabulary of the core: what a beat says, what an agent is, what an incident holds.
//
// Everything here is a value. `Beat` and the other inputs borrow their text (string_view, span) from
// whoever made them, until Engine::step returns; records own theirs.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/time.h"

namespace defib::core {

// Where an agent was heard. Blindness is kept per source (rule of judgement 6).
enum class Source : std::uint8_t { endpoint, http, redis };
inline constexpr std::size_t kSourceCount = 3;

// The one state field. Enumerators are spelled as on the wire.
enum class State : std::uint8_t { starting, healthy, missing, failed, stalled, stopped };
inline constexpr std::size_t kStateCount = 6;

// What the agent says of itself in a beat (the guide, step 1; `stopped` is ours: a goodbye).
enum class Status : std::uint8_t { healthy, degraded, busy, recovering, stopped };

enum class ActivityKind : std::uint8_t { working, idle, waiting, rate_limited, paused, draining };

std::string_view name(Source);
std::string_view name(State);
std::string_view name(Status);
std::string_view name(ActivityKind);

// The guide's AgentMetrics. Units as there: percent, MB (10^6 bytes are not meant: 2^20), counts.
struct Metrics {
  double cpu_percent = 0;
  double memory_mb = 0;
  double active_tasks = 0;
  double queue_depth = 0;
  double tokens_used_this_hour = 0;
  double errors_last_5_min = 0;
  friend bool operator==(const Metrics&, const Metrics&) = default;
};

// A process end that a runner (later Docker or systemd) reports; evidence at once (rule 7).
struct Exit {
  int code = 0;    // Exit status 0 to 255; meaningful where signal is 0.
  int signal = 0;  // The signal that ended it, 0 where none did.
  // The last lines of output, at most kOutputTailBytesMax.
  std::string_view output_tail;
  // The reporter has restarted the program by itself, within a grant (rule of recovery 13).
  bool is_restarted = false;
  // How many of the granted restarts it has spent since the grant, this one included.
  std::uint32_t spent = 0;
};

using Label = std::pair<std::string_view, std::string_view>;

// One message of an instance, checked and typed. Absent fields are nullopt or empty.
struct Beat {
  std::string_view agent_id;  // Always within the grammar (base/ids.h).
  std::string_view agent_type;
  std::string_view instance_id;
  std::string_view host;
  std::int64_t pid = 0;                      // 0: not told.
  std::optional<std::int64_t> timestamp_ms;  // The sender's clock; absent where unusable.
  std::optional<std::uint64_t> sequence;     // Absent for sources without instances (ping).
  Status status = Status::healthy;
  std::optional<Metrics> metrics;
  std::optional<std::string_view> current_task;  // At most kTaskBytesMax.
  std::optional<double> task_progress;           // 0 to 100.
  std::optional<std::int64_t> interval_ms;       // Within kIntervalMin and kIntervalMax.
  std::optional<std::int64_t> started_at_ms;
  std::span<const Label> labels;

  struct Activity {
    ActivityKind kind = ActivityKind::working;
    std::string_view operation;
    std::optional<std::int64_t> for_ms;  // How long it may take, from receipt.
  };
  std::optional<Activity> activity;

  struct Progress {
    std::uint64_t seq = 0;
    std::string_view action;
    std::optional<std::uint64_t> digest;
    std::span<const std::uint64_t> recent;  // Newest last, at most kRecentDigestsMax.
  };
  std::optional<Progress> progress;

  std::string_view capsule;  // Decoded bytes as sent, at most kCapsuleBytesMax.
  std::string_view stack;    // Where the client is stuck.
  std::optional<Exit> exit;  // Only from a runner.
  bool is_runner = false;    // The sender is `defib run`: it can restart its child and takes grants.

  // Not empty: the message is refused for this reason, yet its identity fields are good, so that it
  // still proves life of an agent that is known (rule 10). It creates no agent and updates nothing.
  std::string_view refusal;
  // The connection it came by, 0 where there is none: evidence of identity (rule 11).
  std::uint64_t connection = 0;
};

inline constexpr Duration kIntervalMin = 100ms;
inline constexpr Duration kIntervalMax = 7 * 24h;
inline constexpr std::size_t kBeatBytesMax = 64 * 1024;
inline constexpr std::size_t kCapsuleBytesMax = 16 * 1024;
inline constexpr std::size_t kTaskBytesMax = 512;
inline constexpr std::size_t kOutputTailBytesMax = 8 * 1024;
inline constexpr std::size_t kRecentDigestsMax = 32;
inline constexpr std::size_t kLabelsMax = 16;

// ---- What happened to a message, told to whoever sent it ----------------------------------------

enum class Answer : std::uint8_t {
  accepted,
  refused,     // The message's own `refusal`.
  stale,       // A sequence that is not above the last, or an instance that has ended.
  fenced,      // A replaced instance: it must stop.
  table_full,  // The fleet is at its bound and nobody could leave.
  not_known,   // Refused, or about an agent that nobody has heard of.
};
std::string_view name(Answer);

// ---- Incidents -----------------------------------------------------------------------------------

enum class Verdict : std::uint8_t { silence, exit, never_beat, reported_failure, stalled, manual, guard };
std::string_view name(Verdict);

enum class StepKind : std::uint8_t { restart, replace, alert };
std::string_view name(StepKind);

enum class AttemptResult : std::uint8_t { pending, verified, failed, unknown };
std::string_view name(AttemptResult);

// The phases of an incident; the legal moves are one table in core/incident.h.
enum class Phase : std::uint8_t { opening, held, persisting, acting, verifying, backing_off, told, closed };
inline constexpr std::size_t kPhaseCount = 8;
std::string_view name(Phase);

using IncidentId = std::uint64_t;  // Counts from 1, never reused within a journal.

struct Attempt {
  std::uint32_t n = 0;     // Counts from 1 within the incident.
  std::uint32_t step = 0;  // Index into the policy's ladder.
  StepKind kind = StepKind::restart;
  std::string with;  // "exec", "runner", ...; for alerts the receivers.
  WallTime started_at{};
  AttemptResult result = AttemptResult::pending;
  std::string detail;  // In a sentence: what the adapter said, what verified it or why not.
  friend bool operator==(const Attempt&, const Attempt&) = default;
};

// From a bad verdict until the agent is well again or a person closed it.
struct Incident {
  IncidentId id = 0;
  std::string agent_id;  // "*" for the guard's own incident.
  Verdict verdict = Verdict::silence;
  std::string evidence;     // One sentence with the numbers.
  std::string output_tail;  // From an exit report; empty where none.
  Phase phase = Phase::opening;
  std::string phase_reason;  // Why it is where it is, in a sentence.
  WallTime opened_at{};
  std::optional<WallTime> closed_at;
  std::string outcome;  // "", "recovered", "self", "self, restart did not take", "stopped", "closed by hand", ...
  std::vector<Attempt> attempts;
  bool is_acknowledged = false;
  // The instance that failed; empty where the client sends none.
  std::string instance_id;
  friend bool operator==(const Incident&, const Incident&) = default;
};

}  // namespace defib::core
