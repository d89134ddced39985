// Whose beat is this? Tells the current instance from its successor, a rival, a fenced one and a replay
// (rules of judgement 11 and 12).
//
// Pure and without memory of its own: reads the agent and its past lives, changes nothing.
#pragma once

#include "core/registry.h"
#include "core/types.h"

namespace defib::core {

enum class Sender : std::uint8_t {
  current,    // The instance that is expected to live.
  successor,  // A new instance: from now on the current one.
  rival,      // A past, unfenced instance that still beats: a conflict, unless one of them is draining.
  fenced,     // A replaced instance: it must stop.
  candidate,  // A low sequence without usable timestamp: stale unless the next-higher one follows.
  stale,      // A replay or a duplicate.
  ended,      // The instance was seen to exit; this was in flight.
};

// `recent`: how long after its last beat a past plain life can still go on with its sequence.
// `is_same_host`: beat and agent are one machine's, so that their clocks can be compared.
Sender classify(const Agent& agent, const Beat& beat, Instant now, Duration recent, bool is_same_host);

// The past life that the beat belongs to, nullptr where none does.
PastLife* past_life_of(Agent& agent, const Beat& beat);

}  // namespace defib::core
