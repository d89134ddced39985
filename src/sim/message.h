// What a pretend process says to the monitor, as a small value; the event is made of it on arrival.
#pragma once

#include <cstdint>

#include "base/time.h"

namespace defib::sim {

enum class Said : std::uint8_t {
  beat,
  goodbye_beat,  // status: stopped
  registration,  // The hash, at the start.
  goodbye_hash,  // The hash, at the end: the guide's client.
  exit,          // A runner's report.
  failure,       // /ping/{id}/fail
};

struct Message {
  Said said = Said::beat;
  bool is_replay = false;
  bool is_restarted = false;  // Of an exit: the runner has restarted the program by itself.
  std::uint32_t process = 0;
  std::uint32_t spent = 0;
  int code = 0;
  int signal = 0;
  std::uint64_t sequence = 0;
  std::int64_t timestamp_ms = 0;  // Where the process has a clock.
  Duration interval{};
};

}  // namespace defib::sim
