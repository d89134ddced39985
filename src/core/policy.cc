#include "core/policy.h"

#include <algorithm>

namespace defib::core {

Duration jitter_grace(Duration interval) { return std::max<Duration>(interval / 10, 50ms); }

Duration startup_grace(const Policy& policy, Duration interval) {
  return std::max<Duration>(policy.startup_grace, 3 * interval);
}

Duration verify_within(const Step& step, Duration interval) {
  if (step.verify_within > Duration::zero()) return step.verify_within;
  return std::max<Duration>(3 * interval, 60s);
}

}  // namespace defib::core
