// The plan of what goes wrong: one seed, one plan. Faults come at random times, each of one kind, with a
// target and a length; the world carries them out.
//
// The rates are far above any real fleet's: a day here is a bad year.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/prng.h"
#include "base/time.h"

namespace defib::sim {

enum class FaultKind : std::uint8_t {
  // Of one agent.
  crash,            // The process ends.
  freeze,           // SIGSTOP, and SIGCONT after `length`.
  clean_stop,       // With a goodbye; a person starts it again after `length`.
  redeploy,         // Goodbye, and a new life at once.
  outside_restart,  // Somebody else restarts it, without a goodbye.
  clock_jump,       // Its clock steps by `amount` seconds.
  interval_change,  // It beats at another pace from now on.
  replay,           // `amount` old beats of its earlier lives and of this one are sent again.
  twin,             // A second process under its id, for `length`.
  failure_report,   // It says itself that it failed.
  // Of many.
  mass_crash,      // `amount` percent of the fleet end in the same moment.
  partition,       // One host is not heard for `length`.
  redis_outage,    // Nothing comes by way of Redis for `length`.
  broker_restart,  // It is back before anyone looked, and lost what was under way.
  scripts_fail,    // Recovery commands fail for `length`.
  scripts_lie,     // They exit 0 and nothing comes up.
  scripts_hang,    // They are killed at their time-out, and yet the agent may come up.
  channels_fail,   // No notice is delivered for `length`.
  // Of the monitor.
  monitor_pause,  // Its loop stands still for `length`.
  monitor_crash,  // It dies and is back after `length`.
  journal_unwritable,
  // Of people.
  operator_recovers,
  operator_closes,
  operator_acknowledges,
};
inline constexpr std::size_t kFaultKindCount = 24;
std::string_view name(FaultKind kind);

struct Fault {
  Instant at{};
  FaultKind kind = FaultKind::crash;
  std::uint32_t target = 0;  // An agent, or a host.
  Duration length{};
  std::int64_t amount = 0;
};
std::string print(const Fault& fault, Instant start);

class FaultPlan {
 public:
  // `mean_pause` between two faults of the fleet.
  FaultPlan(std::uint64_t seed, std::uint32_t agents, Duration mean_pause);

  // The next fault, later than `now`.
  Fault next(Instant now);

 private:
  FaultKind choose();

  Prng prng_;
  std::uint32_t agents_;
  Duration mean_pause_;
};

}  // namespace defib::sim
