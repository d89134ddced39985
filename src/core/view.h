// What may be read of the engine, for API, metrics and the endpoint. Values only: nothing that is
// returned points into the engine. Call it on the loop thread, between steps.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/effect.h"
#include "core/types.h"

namespace defib::core {

struct AgentView {
  AgentKey key = 0;
  std::string id;
  std::string type;
  State state = State::starting;
  WallTime last_heartbeat{};  // 0: never beaten.
  std::uint64_t missed_beats = 0;
  std::int64_t uptime_seconds = 0;  // The age of the instance.
  std::string reason;               // One sentence: why this state.
  std::string instance_id;
  std::string host;
  std::int64_t pid = 0;
  Status status = Status::healthy;
  std::optional<Metrics> metrics;
  std::optional<std::string> current_task;
  std::optional<double> task_progress;
  std::string activity;  // Name of the kind.
  std::string activity_operation;
  std::optional<std::uint64_t> progress_seq;
  std::string progress_action;
  std::int64_t interval_ms = 0;
  std::string policy;  // Its match, e.g. "id=* type=planner", or "default".
  std::optional<std::uint64_t> sequence;
  std::optional<std::int64_t> skew_ms;  // The sender's clock minus ours at receipt.
  Source source = Source::endpoint;
  std::vector<std::pair<std::string, std::string>> labels;
  IncidentId incident = 0;   // The open one, 0 where none.
  bool is_conflict = false;  // Two instances beat under this id.
};

// Inputs, thresholds and clocks behind the present state, and what would change it (rule 15).
struct Why {
  std::string agent_id;
  State state = State::starting;
  WallTime since{};
  std::string sentence;
  struct Fact {
    std::string name;
    std::string value;
  };
  std::vector<Fact> facts;  // e.g. {"silence", "12.4 s"}, {"threshold", "3 x 30 s + 3 s grace"}
  struct Next {
    State state = State::starting;
    std::optional<Duration> in;  // Absent: no time leads there, only an event.
    std::string when;            // "no beat by then", "a beat of a new instance"
  };
  std::vector<Next> next;
};

struct AgentFilter {
  std::optional<State> state;
  std::string type;  // Exact; empty: any.
  std::string text;  // Part of the id; empty: any.
};

struct SourceView {
  Source source = Source::endpoint;
  bool is_blind = false;
  std::string reason;
};

// Counters since the start, for /metrics and the page.
struct Counters {
  std::uint64_t beats_accepted = 0;
  std::uint64_t beats_refused = 0;
  std::uint64_t beats_stale = 0;
  std::uint64_t beats_fenced = 0;
  std::uint64_t table_full = 0;
  std::uint64_t incidents_opened = 0;
  std::uint64_t attempts_made = 0;
  std::uint64_t attempts_verified = 0;
  std::uint64_t attempts_failed = 0;
  std::uint64_t notices_sent = 0;
  std::uint64_t blind_spells = 0;
};

class View {
 public:
  virtual ~View() = default;
  View() = default;
  View(const View&) = delete;
  View& operator=(const View&) = delete;

  // Agents by state; the sum is the total.
  virtual std::array<std::uint64_t, kStateCount> counts() const = 0;
  virtual std::optional<AgentView> agent(Instant now, std::string_view id) const = 0;
  // Calls `take` for matching agents whose key is at or above `from`, in key order, until it has looked
  // at `look_at_most` agents. Returns the key to go on from, or nullopt at the end. Slices keep one long
  // list from delaying a verdict.
  virtual std::optional<AgentKey> list_agents(Instant now, const AgentFilter& filter, AgentKey from,
                                              std::uint32_t look_at_most,
                                              const std::function<void(const AgentView&)>& take) const = 0;
  virtual std::optional<Why> why(Instant now, std::string_view id) const = 0;
  // Newest first; `open` absent means all; ids below `before` (0: from the newest); at most `limit`.
  virtual std::vector<Incident> incidents(std::optional<bool> open, IncidentId before, std::size_t limit) const = 0;
  virtual std::optional<Incident> incident(IncidentId id) const = 0;
  virtual std::vector<SourceView> sources() const = 0;
  virtual Counters counters() const = 0;
  virtual bool is_journal_writable() const = 0;
  virtual std::string guard_reason() const = 0;  // Empty: the guard holds nothing.
};

}  // namespace defib::core
