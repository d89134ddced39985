// The way from an agent to the monitor: messages get lost, late, doubled, and so overtake each other.
#pragma once

#include <array>
#include <cstdint>

#include "base/prng.h"
#include "base/time.h"

namespace defib::sim {

struct ChannelOptions {
  Duration delay_max = 20ms;  // Ordinary messages take 0 to this.
  Duration spike_max = 4s;    // Late ones take up to this; they overtake nobody, others overtake them.
  std::uint32_t spike_per_million = 2'000;
  std::uint32_t loss_per_million = 5'000;
  std::uint32_t double_per_million = 1'000;
};

class Channel {
 public:
  explicit Channel(const ChannelOptions& options) : options_(options) {}

  struct Copies {
    std::uint32_t count = 0;  // 0: lost.
    std::array<Duration, 2> delays{};
  };
  // A beat: may be lost, late or doubled.
  Copies send(Prng& prng) const {
    if (prng.chance(options_.loss_per_million)) return {};
    if (prng.chance(options_.double_per_million)) return {2, {delay(prng), delay(prng)}};
    return {1, {delay(prng), 0ns}};
  }
  // What its sender repeats until it is heard: never lost by the channel itself.
  Duration send_reliably(Prng& prng) const { return delay(prng); }

 private:
  Duration delay(Prng& prng) const {
    const Duration most = prng.chance(options_.spike_per_million) ? options_.spike_max : options_.delay_max;
    return Duration(prng.between(0, most.count()));
  }
  ChannelOptions options_;
};

}  // namespace defib::sim
