#include "net/loop.h"

#include <algorithm>
#include <ctime>
#include <fstream>
#include <sys/timerfd.h>
#include <unistd.h>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>

#include "base/check.h"

namespace defib::net {

namespace {

timespec read_clock(clockid_t clock) {
  timespec t{};
  DEFIB_CHECK(clock_gettime(clock, &t) == 0);
  return t;
}

// Makes one handler ready when an instant comes. A timerfd on CLOCK_BOOTTIME (timerfd_create(2)) rather than
// Asio's steady_timer, which counts CLOCK_MONOTONIC and so comes late by the length of a suspend, and rather
// than a time-out of the wait, which is rounded up to a whole millisecond.
class Alarm {
 public:
  explicit Alarm(asio::io_context& context) : descriptor_(context, make_descriptor()) { await(); }

  // Sets or moves the alarm; an instant that has passed is due at once. An earlier alarm than asked for costs
  // one more turn, while moving it costs a system call, so one that is only moved further away stays.
  void set(Instant wake_up) {
    if (is_set_ && wake_up >= armed_for_) return;
    if (!is_set_ && wake_up == kNever) return;
    // Zero would disarm it.
    const auto since_boot = std::max(wake_up.time_since_epoch(), Duration{1});
    const auto seconds = std::chrono::floor<std::chrono::seconds>(since_boot);
    itimerspec spec{};
    spec.it_value.tv_sec = seconds.count();
    spec.it_value.tv_nsec = (since_boot - seconds).count();
    DEFIB_CHECK(timerfd_settime(descriptor_.native_handle(), TFD_TIMER_ABSTIME, &spec, nullptr) == 0);
    is_set_ = true;
    armed_for_ = wake_up;
  }

 private:
  static int make_descriptor() {
    const int fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    DEFIB_CHECK(fd >= 0);
    return fd;
  }

  void await() {
    descriptor_.async_wait(asio::posix::descriptor_base::wait_read, [this](const boost::system::error_code& error) {
      if (error) return;
      std::uint64_t expirations = 0;
      // Nothing to read means that it was moved after it had come due: it is still set.
      if (::read(descriptor_.native_handle(), &expirations, sizeof expirations) > 0) is_set_ = false;
      await();
    });
  }

  asio::posix::stream_descriptor descriptor_;
  bool is_set_ = false;
  Instant armed_for_{};
};

}  // namespace

Instant read_steady() {
  const timespec t = read_clock(CLOCK_BOOTTIME);
  return Instant(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
}

WallTime read_wall() {
  const timespec t = read_clock(CLOCK_REALTIME);
  return wall_from_ms(static_cast<std::int64_t>(t.tv_sec) * 1000 + t.tv_nsec / 1'000'000);
}

std::string read_boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

void Loop::run(const std::function<Instant()>& on_turn) {
  const auto work = asio::make_work_guard(context_);
  context_.restart();
  Alarm alarm(context_);
  while (!is_stopping_) {
    alarm.set(on_turn());
    if (is_stopping_) break;
    // Waits for the first handler, the alarm's included, then takes what else is ready.
    if (context_.run_one() == 0) break;
    for (int ran = 1; ran < kHandlersPerTurnMax && !is_stopping_; ++ran) {
      if (context_.poll_one() == 0) break;
    }
  }
  is_stopping_ = false;
}

void Loop::stop() { is_stopping_ = true; }

void Loop::post(std::function<void()> task) { asio::post(context_, std::move(task)); }

}  // namespace defib::net
