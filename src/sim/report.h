// What a run looked like: lines for people, and one number by which two runs are compared.
#pragma once

#include <cstdint>
#include <string>

#include "core/effect.h"
#include "sim/world.h"

namespace defib::sim {

// Mixes the effect and its time into `hash`; equal streams give equal numbers.
void hash_effect(const core::Effect& effect, Instant at, std::uint64_t& hash);

// One line, "" for records that say nothing new.
std::string effect_line(const core::Effect& effect);

// Adds the counts of `run` to `sum`.
void add(Tally& sum, Tally&& run);

// The table at the end of `agent_hours` of pretend time.
std::string summary(Tally& tally, std::uint64_t runs, double agent_hours);

// Everything that is needed to see a red run again.
std::string failure(const Outcome& outcome);

}  // namespace defib::sim
