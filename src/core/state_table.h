// The machine of the one state field as a table: state x stimulus -> state. A test walks every cell and
// src/core/README.md shows it; nothing else in the core assigns a state.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "core/types.h"

namespace defib::core {

enum class Stimulus : std::uint8_t {
  registered,        // A new life wrote its hash; it has not beaten yet.
  beat,              // A beat of the instance that is expected to live.
  goodbye,           // It said that it stops.
  interval_passed,   // Silence has reached interval + grace.
  threshold_passed,  // Silence has reached threshold x interval + grace.
  startup_passed,    // Registered, never beat, and the start-up grace is over.
  exited_clean,      // A reporter saw it end with 0, and the policy calls that stopped.
  exited_bad,        // A reporter saw it end otherwise.
  failure_reported,  // The agent itself says that it failed (ping's /fail).
};
inline constexpr std::size_t kStimulusCount = 9;

constexpr std::string_view name(Stimulus stimulus) {
  constexpr std::array<std::string_view, kStimulusCount> kNames = {
      "registered",     "beat",         "goodbye",    "interval_passed", "threshold_passed",
      "startup_passed", "exited_clean", "exited_bad", "failure_reported"};
  return kNames[static_cast<std::size_t>(stimulus)];
}

namespace table {
using enum State;
// A `failed` agent that registers anew stays failed until it beats: a registration proves no life. A `stopped` one
// stays so through every deadline. Silence outranks `stalled`; a beat alone does not end `stalled`.
inline constexpr std::array<std::array<State, kStimulusCount>, kStateCount> kNextState = {{
    // registered beat     goodbye  interval  threshold startup   clean    bad      failure
    {{starting, healthy, stopped, starting, starting, failed, stopped, failed, failed}},   // starting
    {{starting, healthy, stopped, missing, failed, healthy, stopped, failed, failed}},     // healthy
    {{starting, healthy, stopped, missing, failed, missing, stopped, failed, failed}},     // missing
    {{failed, healthy, stopped, failed, failed, failed, stopped, failed, failed}},         // failed
    {{starting, stalled, stopped, missing, failed, stalled, stopped, failed, failed}},     // stalled
    {{starting, healthy, stopped, stopped, stopped, stopped, stopped, stopped, stopped}},  // stopped
}};
}  // namespace table

constexpr State next_state(State state, Stimulus stimulus) {
  return table::kNextState[static_cast<std::size_t>(state)][static_cast<std::size_t>(stimulus)];
}

}  // namespace defib::core
