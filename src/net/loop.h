// The one loop thread: an Asio context, the only clock, and turns.
//
// A turn runs the handlers that are ready (a bounded number), then calls `on_turn`, which steps the
// core and performs its effects. Nothing in a turn blocks. Other threads reach the loop by post().
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <boost/asio/io_context.hpp>

#include "base/time.h"

namespace defib::net {

namespace asio = boost::asio;

// CLOCK_BOOTTIME and CLOCK_REALTIME (clock_gettime(2)).
Instant read_steady();
WallTime read_wall();
// /proc/sys/kernel/random/boot_id, empty where it can't be read.
std::string read_boot_id();

class Loop {
 public:
  static constexpr int kHandlersPerTurnMax = 512;

  asio::io_context& context() { return context_; }

  // Runs until stop(). `on_turn` is called after each batch of handlers and whenever the instant that it
  // returned last (its next wake-up) has come.
  void run(const std::function<Instant()>& on_turn);
  // May be called from a handler or from on_turn.
  void stop();
  // Runs `task` on the loop thread; may be called from any thread.
  void post(std::function<void()> task);

 private:
  asio::io_context context_{1};
  bool is_stopping_ = false;
};

}  // namespace defib::net
