// The three kinds of time, kept apart by the type system: a length, a steady instant, a wall time.
//
// `Instant` counts nanoseconds of CLOCK_BOOTTIME (clock_gettime(2)): it never steps back and goes on
// during suspend, so a suspended host shows up as a gap and instants stay valid across a restart of
// the monitor within one boot. `WallTime` is milliseconds since 1970 and is for people and for the
// wire only; it decides no deadline. Neither has a now(): the one clock is read in net/loop.cc.
#pragma once

#include <chrono>
#include <cstdint>

namespace defib {

using Duration = std::chrono::nanoseconds;

struct SteadyScale {
  using duration = Duration;
};
struct WallScale {
  using duration = std::chrono::milliseconds;
};

using Instant = std::chrono::time_point<SteadyScale, Duration>;
using WallTime = std::chrono::time_point<WallScale, std::chrono::milliseconds>;

using namespace std::chrono_literals;

// A deadline that never comes. Adding to it overflows: compare only.
inline constexpr Instant kNever = Instant::max();

constexpr std::int64_t to_ms(Duration d) { return std::chrono::duration_cast<std::chrono::milliseconds>(d).count(); }
constexpr std::int64_t to_ms(WallTime t) { return t.time_since_epoch().count(); }
constexpr Duration from_ms(std::int64_t ms) { return std::chrono::milliseconds(ms); }
constexpr WallTime wall_from_ms(std::int64_t ms) { return WallTime(std::chrono::milliseconds(ms)); }

}  // namespace defib
