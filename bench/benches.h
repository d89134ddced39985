// The benches, each of which adds its rows to the report. They do not depend on each other.
#pragma once

#include "harness.h"

namespace defib::bench {

// RSS an agent at a million agents: the engine, and the bare loop. Forks: call it first.
void bench_memory(Report& report);
// CPU a beat: codec and engine, against the bare loop, at 10,000 and at 1,000,000 agents.
void bench_beats(Report& report);
// What silence costs: steps in which nothing happens, and agents that fail, in a small and in a large fleet.
void bench_silence(Report& report);
// How late `failed` comes behind its deadline when the engine is stepped whenever it asks to be.
void bench_lateness(Report& report);
// The real monitor beside Redis: pipelined, and with a connection an agent.
void bench_endpoint(Report& report);
// The guide's list of 10,000 agents, and one agent of it.
void bench_health(Report& report);

}  // namespace defib::bench
