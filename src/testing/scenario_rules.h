// The commands of a scenario that write the rules: policy, policies, channel, limits, guard, keep,
// bounds, alerts. They take effect at the first other command, later at `reload`.
#pragma once

#include "core/policy.h"
#include "testing/words.h"

namespace defib::stage {

// True where the command is one of these; mistakes are noted in `words`.
bool change_rules(Words& words, core::Rules& rules);

}  // namespace defib::stage
