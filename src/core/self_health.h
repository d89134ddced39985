// Am I fit to judge? Remembers when the monitor could not hear, so that blind time never counts.
//
// Pure. A spell of blindness belongs to one source (an outage there) or to all (the monitor itself was
// paused, suspended or down). While a source is blind nobody heard there is judged. Spells are kept for as long as
// they matter, kSpellsMax a source at most: past it the two oldest are joined, which only makes judging milder.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "core/types.h"

namespace defib::core {

struct Spell {
  Instant begin{};
  Instant end{};
};
inline constexpr std::size_t kSpellsMax = 256;

class SelfHealth {
 public:
  // What was not proven seen, from `begin` to `end`, on all sources: a loop gap, or the monitor's downtime.
  void add_gap(Instant begin, Instant end);
  void go_blind(Source source, Instant since, std::string_view reason);
  // Ends the source's blindness; false where it was not blind. `is_restarted`: with a spell of no
  // length that everyone's beat was due in, so that all get one interval and grace.
  bool see_again(Source source, Instant now, bool is_restarted);

  bool is_blind(Source source) const { return open_[static_cast<std::size_t>(source)].is_open; }
  const std::string& reason(Source source) const { return open_[static_cast<std::size_t>(source)].reason; }

  // How much of [from, now] the source was blind.
  Duration blind_time(Source source, Instant from, Instant now) const;
  // The earliest instant at which an agent last heard at `heard` may be judged: one interval and grace
  // after the last spell in which a beat of it was due and that began by `before`, its deadline without a
  // reprieve: later ones delay nothing, else a monitor that stumbles often would never judge. `heard` where none was.
  Instant reprieve(Source source, Instant heard, Duration interval, Instant before) const;
  // When `silence` of unblinded time will have passed since `heard`, by what is known now.
  Instant when_silent_for(Source source, Instant heard, Duration silence) const;

 private:
  struct OpenSpell {
    bool is_open = false;
    Instant begin{};
    std::string reason;
  };
  struct Restart {
    Instant at{};
    bool has_been = false;
  };
  void add(std::size_t source, Spell spell);

  std::array<std::vector<Spell>, kSourceCount> spells_;
  std::array<OpenSpell, kSourceCount> open_;
  std::array<Restart, kSourceCount> restarts_;
};

// The longest pause between two steps that is no gap: max(100 ms, half the smallest grace) (rule 6).
Duration gap_allowed(Duration smallest_interval);

}  // namespace defib::core
