// Decides what follows when the program has ended by itself (rule of recovery 13).
//
// Pure: no clock, no IO; the caller passes `now`. While a grant of the monitor is not spent, the next start comes at
// once: the grant is the limit. Once it is spent and the monitor is there, the monitor decides. Without a grant, or
// without the monitor, --restart decides, with the back-off of core/policy.h.
#pragma once

#include <cstdint>

#include "base/prng.h"
#include "base/time.h"

namespace defib::run {

enum class RestartMode : std::uint8_t { no, on_failure, always };

struct Decision {
  enum class Kind : std::uint8_t { now, after, wait_for_monitor, end };
  Kind kind = Kind::end;
  Duration delay{0};        // Only for `after`.
  bool is_granted = false;  // `now`, within the grant.
};

class RestartRule {
 public:
  RestartRule(RestartMode mode, std::uint64_t seed) : mode_(mode), prng_(seed) {}

  // The monitor allows `restarts` from now on, whatever was left of an earlier grant.
  void grant(std::uint32_t restarts);
  // The program has ended after `lived`; `is_failure` where not by exit 0. `hears_monitor`: its commands can reach us.
  Decision on_exit(bool is_failure, Duration lived, bool hears_monitor);
  // The monitor, for which we waited, is gone.
  Decision on_monitor_lost(bool is_failure) { return by_mode(is_failure); }

  std::uint32_t granted() const { return granted_; }
  // How many of the grant are used, since it was given.
  std::uint32_t spent() const { return spent_; }

 private:
  Decision by_mode(bool is_failure);

  const RestartMode mode_;
  Prng prng_;
  bool has_grant_ = false;
  std::uint32_t granted_ = 0;
  std::uint32_t spent_ = 0;
  Duration next_delay_{0};  // 0: the first.
};

}  // namespace defib::run
