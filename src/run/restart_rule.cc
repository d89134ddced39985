#include "run/restart_rule.h"

#include <algorithm>

#include "core/policy.h"

namespace defib::run {

void RestartRule::grant(std::uint32_t restarts) {
  has_grant_ = true;
  granted_ = restarts;
  spent_ = 0;
}

Decision RestartRule::on_exit(bool is_failure, Duration lived, bool hears_monitor) {
  if (lived >= core::kBackoffForgetAfter) next_delay_ = Duration::zero();
  if (!is_failure && mode_ != RestartMode::always) return {.kind = Decision::Kind::end};
  if (has_grant_ && spent_ < granted_) {
    ++spent_;
    return {.kind = Decision::Kind::now, .is_granted = true};
  }
  if (has_grant_ && hears_monitor) return {.kind = Decision::Kind::wait_for_monitor};
  return by_mode(is_failure);
}

Decision RestartRule::by_mode(bool is_failure) {
  if (mode_ == RestartMode::no || (mode_ == RestartMode::on_failure && !is_failure)) {
    return {.kind = Decision::Kind::end};
  }
  const Duration base = next_delay_ == Duration::zero() ? core::kBackoffFirst : next_delay_;
  next_delay_ = std::min(base * 2, core::kBackoffCap);
  const std::int64_t percent = prng_.between(100 - core::kBackoffJitterPercent, 100 + core::kBackoffJitterPercent);
  return {.kind = Decision::Kind::after, .delay = base / 100 * percent};
}

}  // namespace defib::run
