// Effects and views as single lines that people read and diffs compare. Stable: the text depends on
// nothing but the values.
#pragma once

#include <string>

#include "core/effect.h"
#include "core/view.h"

namespace defib::stage {

// "00:01:33.000" since the start of the scenario; hours count on past 24.
std::string print_time(Duration since_start);

// One line without its time, or "" for what a reader need not see: records that nobody waits for
// (their meaning is announced) and checkpoints.
std::string print(const core::Effect& effect);

// "agent a1 healthy missed 0 ...: reason"
std::string print(const core::AgentView& agent);
// Several lines: the incident, then its attempts.
std::string print(const core::Incident& incident);
// Several lines: the sentence, the facts, what comes next.
std::string print(const core::Why& why);
std::string print(const core::Counters& counters);
std::string print(const core::SourceView& source);

}  // namespace defib::stage
