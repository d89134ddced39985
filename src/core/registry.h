// Who there is: one dense table of agents, looked up by id or by key, with a stated bound.
//
// Pure. References to an Agent stay valid until that agent is removed; keys are reused after removal.
// Everything that is rare (labels, capsule, activity, past instances) lives behind one pointer, so that
// a million plain agents stay small.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "core/effect.h"
#include "core/policy.h"
#include "core/types.h"

namespace defib::core {

// Interned text (types, hosts, labels), counted, so that a hostile stream of hosts does not stay.
using Symbol = std::uint32_t;
class Symbols {
 public:
  Symbols();
  // Adds one use.
  Symbol acquire(std::string_view text);
  void release(Symbol symbol);
  const std::string& text(Symbol symbol) const { return entries_[symbol].text; }
  // Users that are not stopped: the guard's denominators.
  std::uint32_t active(Symbol symbol) const { return entries_[symbol].uses - entries_[symbol].stopped; }
  void add_stopped(Symbol symbol, int change);
  static constexpr Symbol kEmpty = 0;

 private:
  struct Entry {
    std::string text;
    std::uint32_t uses = 0;
    std::uint32_t stopped = 0;
  };
  std::deque<Entry> entries_;  // Addresses are stable: the map's keys point here.
  std::vector<Symbol> free_;
  boost::unordered_flat_map<std::string_view, Symbol> by_text_;
};

struct FloatMetrics {
  float cpu_percent, memory_mb, active_tasks, queue_depth, tokens_used_this_hour, errors_last_5_min;
};

// One life that is not the current one, with when it was last heard (not kept across restarts).
struct PastLife {
  PastInstance instance;
  Instant last_heard{};
  std::uint64_t connection = 0;
  std::int64_t timestamp_ms = 0;  // The sender's, of its last accepted beat; 0: none.
};
inline constexpr std::size_t kPastLivesMax = 8;

// What the runner may do by itself (rule of recovery 13).
struct Grant {
  std::uint32_t restarts = 0;
  std::uint32_t spent = 0;
  PersistToken token = 0;  // Not 0: waits for the journal.
};

struct RareFacts {
  std::vector<std::pair<std::string, std::string>> labels;
  std::vector<Symbol> label_symbols;  // "key=value", for the guard.
  std::string capsule;
  ActivityKind activity = ActivityKind::working;
  bool has_activity = false;
  std::string activity_operation;
  std::optional<std::uint64_t> progress_seq;
  std::string progress_action;
  std::vector<PastLife> past;  // Newest last, at most kPastLivesMax.
  Instant conflict_until{};    // A rival beat; shown until then.
  Instant conflict_told{};
  Instant last_fence_sent{};
  Grant grant;
  std::vector<Instant> recoveries;  // Starts of attempts, oldest first; pruned by use.
  std::uint32_t backoff_level = 0;
  Instant well_since{};   // When its last incident closed.
  std::string exit_text;  // "exit code 1", "signal 9 (SIGKILL)"
  std::string output_tail;
};

struct Agent {
  std::string id;
  AgentKey key = 0;
  std::string instance_id;  // Empty: plain client, or none known yet.
  std::string task;
  std::int64_t pid = 0;
  std::int64_t registered_at_ms = 0;  // The hash's; 0: none.
  std::int64_t stopped_at_ms = 0;     // The last hash goodbye that was taken.
  std::int64_t started_at_ms = 0;     // 0: not told.
  std::int64_t timestamp_ms = 0;      // Sender's, of the last accepted beat; 0: none.
  std::uint64_t sequence = 0;
  std::uint64_t candidate_sequence = 0;  // A low sequence without timestamp that waits for its next.
  std::uint64_t connection = 0;
  Duration interval = 30s;  // In force, from beat or policy.
  Instant registered{};     // First heard of since the last beat, or of this life.
  Instant last_heard{};
  Instant state_since{};
  Instant goodbye_at{};
  WallTime last_heard_wall{};
  WallTime first_heard_wall{};  // Of the current instance.
  WallTime state_since_wall{};
  IncidentId incident = 0;  // The open one.
  std::unique_ptr<RareFacts> rare;
  std::optional<FloatMetrics> metrics;
  float task_progress = -1;  // Below 0: none.
  Symbol type = Symbols::kEmpty;
  Symbol host = Symbols::kEmpty;
  std::uint32_t epoch = 0;                   // Counts instances of this agent since it entered the table.
  std::uint16_t policy = 0;                  // Index; the last one is the built-in default.
  std::uint16_t missed_beats_threshold = 3;  // In force.
  State state = State::starting;
  Status status = Status::healthy;
  Source source = Source::endpoint;
  bool is_used : 1 = false;
  bool has_beaten : 1 = false;  // In its current life.
  bool has_sequence : 1 = false;
  bool has_candidate : 1 = false;
  bool has_task : 1 = false;
  bool has_own_interval : 1 = false;
  bool is_runner : 1 = false;
  bool is_ended : 1 = false;             // The current instance was seen to exit.
  bool expects_successor : 1 = false;    // The current instance was fenced; nobody is current.
  bool is_registration_new : 1 = false;  // The hash changed since the current instance was taken.
  bool is_listed_gone : 1 = false;       // Stands in the detector's list of those who may leave.
  bool is_record_dirty : 1 = false;      // Its journal record is out of date.

  RareFacts& facts() {
    if (!rare) rare = std::make_unique<RareFacts>();
    return *rare;
  }
  bool is_gone() const { return state == State::stopped || (state == State::failed && incident == 0); }
};

class Registry {
 public:
  explicit Registry(const Rules& rules);

  // nullptr where unknown.
  Agent* find(std::string_view id);
  const Agent* find(std::string_view id) const;
  Agent& at(AgentKey key);
  const Agent& at(AgentKey key) const;

  // Only where unknown and size() < the bound. Symbols and counts start empty, the policy matches by id.
  Agent& add(std::string_view id);
  // Restoring: the same at the free place that the journal names; when all are in, finish_restoring().
  Agent& restore_at(AgentKey key, std::string_view id);
  void finish_restoring();
  void remove(AgentKey key);

  std::size_t size() const { return by_id_.size(); }
  bool is_full() const { return by_id_.size() >= rules_->bounds.agents; }
  // Keys are below this.
  AgentKey key_end() const { return static_cast<AgentKey>(chunks_.size() * kCheckpointChunk); }
  bool is_used(AgentKey key) const { return key < key_end() && at(key).is_used; }

  // Counts by state; kept by set_state().
  const std::array<std::uint64_t, kStateCount>& counts() const { return counts_; }
  void set_state(Agent& agent, State state);

  const Policy& policy(const Agent& agent) const;
  // Chooses the policy by id and type, and takes its interval and threshold where the agent has no own.
  // `is_at_once`: false keeps what is in force where the new one would be stricter (rule 3).
  void choose_policy(Agent& agent, bool is_at_once);
  void set_rules(const Rules& rules) { rules_ = &rules; }
  const Rules& rules() const { return *rules_; }

  void set_type(Agent& agent, std::string_view type);
  void set_host(Agent& agent, std::string_view host);
  void set_labels(Agent& agent, std::span<const Label> labels);
  const std::string& type(const Agent& agent) const { return types_.text(agent.type); }
  const std::string& host(const Agent& agent) const { return hosts_.text(agent.host); }
  const Symbols& types() const { return types_; }
  const Symbols& hosts() const { return hosts_; }
  const Symbols& labels() const { return labels_; }

  AgentRecord record(const Agent& agent) const;

 private:
  void add_chunk();
  Agent& take(AgentKey key, std::string_view id);

  const Rules* rules_;
  Policy default_policy_;
  void count_stopped(const Agent& agent, int change);
  void set_symbol(Agent& agent, Symbol Agent::*field, Symbols& symbols, std::string_view text);

  Symbols types_;
  Symbols hosts_;
  Symbols labels_;
  std::vector<std::unique_ptr<Agent[]>> chunks_;
  std::vector<AgentKey> free_;
  boost::unordered_flat_map<std::string_view, AgentKey> by_id_;
  std::array<std::uint64_t, kStateCount> counts_{};
};

}  // namespace defib::core
