// The pretend agents and the truth about them: which process of which agent really runs, at any time.
//
// The monitor sees none of this; it hears messages. The checkers compare what it did with the truth.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "base/time.h"
#include "core/policy.h"
#include "core/types.h"

namespace defib::sim {

// Plain: the guide's own client, without instance id. Named: sends its instance and its interval.
// Runner: `defib run`, which reports exits and restarts within a grant. Ping: a cron job.
enum class Kind : std::uint8_t { plain, named, runner, ping };
std::string_view name(Kind kind);

enum class Condition : std::uint8_t { running, frozen, gone };

// One life.
struct Process {
  std::uint32_t agent = 0;
  std::uint32_t life = 0;   // Counts within the agent, from 1.
  std::string instance_id;  // Empty for plain and ping.
  std::string host;
  std::int64_t pid = 0;
  std::uint64_t connection = 0;
  std::int64_t registered_at_ms = 0;  // By its own clock.
  Duration interval{};
  Condition condition = Condition::running;
  std::uint64_t sequence = 0;    // Of the last beat that it sent.
  std::uint32_t generation = 0;  // Timers of an older one are void.
  bool has_said_goodbye = false;
  bool is_obedient = true;  // Stops when it is told that it is fenced.
  bool is_twin = false;     // Started beside another by mistake.
  // Its last beats: sequence and timestamp, by sequence modulo.
  std::array<std::pair<std::uint64_t, std::int64_t>, 8> sent{};
  // What the monitor has heard and decided of it.
  std::uint64_t sequence_accepted = 0;
  bool is_goodbye_heard = false;
  bool is_end_heard = false;
  bool is_fenced = false;
};

struct PretendAgent {
  std::string id;
  std::string type;
  std::string host;
  Kind kind = Kind::plain;
  core::Source source = core::Source::endpoint;
  Duration interval{};
  std::int64_t skew_ms = 0;  // Its host's clock minus the monitor's.
  bool has_clock = true;     // Its beats bear a usable timestamp.
  bool went_back = false;    // Its clock has stepped back: its next life looks older than its last.
  std::uint32_t lives = 0;
  std::uint32_t current = 0;  // The process that is meant to be the agent.
  bool has_current = false;
  std::vector<std::uint32_t> others;  // Processes of this agent that are not gone, besides.
  std::deque<std::uint32_t> history;  // Its last lives, newest last, at most kHistoryMax.
  // Its hash in Redis, which keeps what was written last: whose registration, and the last goodbye.
  std::uint32_t hash_process = 0;
  std::int64_t hash_stopped_at_ms = 0;
  bool is_wanted = true;  // False between a clean stop and its next start.
  bool is_booting = false;
  Instant dead_since{};          // While no process runs and it is wanted.
  std::uint32_t grant_left = 0;  // Of a runner.
  std::uint32_t grant_spent = 0;
};

class Fleet {
 public:
  static constexpr std::size_t kHistoryMax = 6;

  // `agents` of mixed kinds on a few hosts. The same generator gives the same fleet.
  Fleet(std::uint32_t agents, Prng& prng);

  std::vector<PretendAgent> agents;
  std::deque<Process> processes;  // Never removed: messages and timers name them by place.

  // Brings up a new life of the agent and makes it the current one; `instance_id` empty: it chooses its own.
  std::uint32_t start(std::uint32_t agent, std::int64_t wall_ms, std::string instance_id);
  // A second process under the same id, beside the current one.
  std::uint32_t start_twin(std::uint32_t agent, std::int64_t wall_ms);
  void end(std::uint32_t process);

  Process& current(const PretendAgent& agent) { return processes[agent.current]; }
  const Process& current(const PretendAgent& agent) const { return processes[agent.current]; }
  bool is_running(const PretendAgent& agent) const {
    return agent.has_current && current(agent).condition == Condition::running;
  }
  // Other processes than the current one run or may come back.
  bool has_others(const PretendAgent& agent) const { return !agent.others.empty(); }

  // The policies that fit this fleet: one a kind, with a ladder each.
  static core::Rules rules();

 private:
  std::uint32_t make_process(std::uint32_t agent, std::int64_t wall_ms, std::string instance_id);
  std::int64_t next_pid_ = 100;
};

}  // namespace defib::sim
