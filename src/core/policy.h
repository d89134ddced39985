// What holds for the agents it matches, and for the fleet. Plain values, made by app/config, which
// checks ranges; every default stands here with its reason. A reload replaces the whole `Rules`.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "core/types.h"

namespace defib::core {

enum class Mode : std::uint8_t { observe, enforce };
std::string_view name(Mode);

// One step of a ladder. `with` names the adapter: "exec", "runner"; empty for alerts.
struct Step {
  StepKind kind = StepKind::restart;
  std::string with;
  // The argument list for exec; "{agentId}" and the other names of docs are put in, never by a shell.
  std::vector<std::string> command;
  // For docker's replace: the image that beats the old container's.
  std::string image;
  // Tries of this step; default 2 for restart, 1 for replace.
  std::uint32_t attempts = 1;
  // The wait for a proving beat; 0 means the default, see verify_within().
  Duration verify_within{0};
  // A script that runs longer is killed (only the script): rule of recovery 10.
  Duration timeout = 60s;
  // The operator says that two instances at once do no harm: replace needs no proof of the end.
  bool allow_two = false;
  // Receivers of an alert step; empty means all channels.
  std::vector<std::string> to;
  friend bool operator==(const Step&, const Step&) = default;
};

struct StallRule {
  Duration no_progress = 10min;  // A model's turn and a test run fit in.
  std::uint32_t repeats = 8;     // Whole cycles of the same actions.
  Duration longest_hold = 2h;    // The cap of any one announced operation.
  Mode mode = Mode::observe;     // A stall verdict earns trust before it acts.
  friend bool operator==(const StallRule&, const StallRule&) = default;
};

struct Limits {
  std::uint32_t recoveries = 5;  // Past five in ten minutes it is flapping, not failing.
  Duration per = 10min;
  friend bool operator==(const Limits&, const Limits&) = default;
};

struct Policy {
  std::string match_id = "*";  // Globs (base/text.h).
  std::string match_type = "*";
  Duration interval = 30s;           // The guide's.
  std::uint32_t missed_beats = 3;    // The guide's: 90 s ride out ordinary jitter.
  Duration startup_grace = 5min;     // First model turns are slow. Never below three intervals.
  Mode mode = Mode::enforce;         // For silence and exits.
  State exit_zero = State::stopped;  // `stopped` or `failed`.
  StallRule stall;
  // No `recovery` key: one alert to all channels. `[]`: verdicts only.
  std::vector<Step> recovery = {Step{.kind = StepKind::alert}};
  Limits limits;
  friend bool operator==(const Policy&, const Policy&) = default;
};

// Back-off between attempts: Kubernetes' shape with a gentler start.
inline constexpr Duration kBackoffFirst = 5s;
inline constexpr Duration kBackoffCap = 5min;
inline constexpr Duration kBackoffForgetAfter = 10min;
inline constexpr std::int64_t kBackoffJitterPercent = 20;
// TERM, then KILL after this; Docker's own.
inline constexpr Duration kKillGrace = 10s;

struct GuardRule {
  std::uint32_t share_percent = 30;  // Between Eureka's 15 % and Kubernetes' 55 %.
  Duration within = 30s;
  std::uint32_t at_least = 5;
  Duration holds_at_most = 10min;  // A hold must have an exit.
  friend bool operator==(const GuardRule&, const GuardRule&) = default;
};

struct FleetLimits {
  std::uint32_t at_once = 10;
  std::uint32_t per_minute = 30;
  friend bool operator==(const FleetLimits&, const FleetLimits&) = default;
};

struct Keep {
  Duration stopped_agents = 24h;
  Duration events = 30 * 24h;
  Duration incidents = 90 * 24h;
  friend bool operator==(const Keep&, const Keep&) = default;
};

struct Bounds {
  std::size_t agents = 1'000'000;
  std::size_t closed_incidents = 10'000;  // In memory; the journal keeps them for Keep::incidents.
  std::size_t capsule_bytes = std::size_t{256} << 20;
  friend bool operator==(const Bounds&, const Bounds&) = default;
};

struct Rules {
  // The first that matches holds; an agent that none matches has the defaults of Policy.
  std::vector<Policy> policies;
  // Names of all configured channels, in the file's order.
  std::vector<std::string> channels;
  GuardRule guard;
  FleetLimits limits;
  Keep keep;
  Bounds bounds;
  Duration alert_repeat = 4h;
  friend bool operator==(const Rules&, const Rules&) = default;
};

// 10 % of the interval, 50 ms at least: an interval equal to the check period is the classic false alarm.
Duration jitter_grace(Duration interval);
// The policy's, but never below three intervals.
Duration startup_grace(const Policy& policy, Duration interval);
// The step's own time, else three intervals and 60 s at least.
Duration verify_within(const Step& step, Duration interval);

}  // namespace defib::core
