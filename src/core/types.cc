// The names of all enumerators, spelled as on the wire.
#include "core/types.h"

#include <algorithm>

#include "core/effect.h"
#include "core/policy.h"

namespace defib::core {
namespace {

template <std::size_t N>
std::string_view pick(const std::array<std::string_view, N>& names, std::size_t index) {
  return index < N ? names[index] : "?";
}

}  // namespace

void merge(const CheckpointEntry& entry, AgentRecord& record) {
  if (entry.last_heard == Instant{}) return;
  if (!record.has_beaten) {
    record.registered = std::max(record.registered, entry.last_heard);
    return;
  }
  if (entry.last_heard < record.last_heard) return;
  record.last_heard = entry.last_heard;
  record.last_heard_wall = wall_from_ms(entry.last_heard_wall_ms);
  if (record.sequence) record.sequence = entry.sequence;
  if (entry.timestamp_ms != 0) record.timestamp_ms = entry.timestamp_ms;
}

std::string_view name(Source value) {
  static constexpr std::array<std::string_view, 3> kNames = {"endpoint", "http", "redis"};
  return pick(kNames, static_cast<std::size_t>(value));
}
std::string_view name(State value) {
  static constexpr std::array<std::string_view, 6> kNames = {"starting", "healthy", "missing",
                                                             "failed",   "stalled", "stopped"};
  return pick(kNames, static_cast<std::size_t>(value));
}
std::string_view name(Status value) {
  static constexpr std::array<std::string_view, 5> kNames = {"healthy", "degraded", "busy", "recovering", "stopped"};
  return pick(kNames, static_cast<std::size_t>(value));
}
std::string_view name(ActivityKind value) {
  static constexpr std::array<std::string_view, 6> kNames = {"working",      "idle",   "waiting",
                                                             "rate_limited", "paused", "draining"};
  return pick(kNames, static_cast<std::size_t>(value));
}
std::string_view name(Answer value) {
  static constexpr std::array<std::string_view, 6> kNames = {"accepted", "refused",    "stale",
                                                             "fenced",   "table_full", "not_known"};
  return pick(kNames, static_cast<std::size_t>(value));
}
std::string_view name(Verdict value) {
  static constexpr std::array<std::string_view, 7> kNames = {"silence", "exit",   "never_beat", "reported_failure",
                                                             "stalled", "manual", "guard"};
  return pick(kNames, static_cast<std::size_t>(value));
}
std::string_view name(StepKind value) {
  static constexpr std::array<std::string_view, 3> kNames = {"restart", "replace", "alert"};
  return pick(kNames, static_cast<std::size_t>(value));
}
std::string_view name(AttemptResult value) {
  static constexpr std::array<std::string_view, 4> kNames = {"pending", "verified", "failed", "unknown"};
  return pick(kNames, static_cast<std::size_t>(value));
}
std::string_view name(Phase value) {
  static constexpr std::array<std::string_view, 8> kNames = {"opening",   "held",        "persisting", "acting",
                                                             "verifying", "backing_off", "told",       "closed"};
  return pick(kNames, static_cast<std::size_t>(value));
}
std::string_view name(Mode value) {
  static constexpr std::array<std::string_view, 2> kNames = {"observe", "enforce"};
  return pick(kNames, static_cast<std::size_t>(value));
}
std::string_view name(NoticeStatus value) {
  static constexpr std::array<std::string_view, 2> kNames = {"firing", "resolved"};
  return pick(kNames, static_cast<std::size_t>(value));
}
std::string_view name(EventKind value) {
  static constexpr std::array<std::string_view, 4> kNames = {"agent", "incident", "attempt", "monitor"};
  return pick(kNames, static_cast<std::size_t>(value));
}

}  // namespace defib::core
