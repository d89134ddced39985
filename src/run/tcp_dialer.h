// Connects to a host by TCP without ever blocking the loop: names are looked up on a thread of their own.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "run/poll_set.h"
#include "run/unique_fd.h"

namespace defib::run {

class TcpDialer {
 public:
  static constexpr std::size_t kAddressesMax = 8;
  static constexpr Duration kTimeLimit = 10s;  // Look-up and all addresses together.

  TcpDialer();
  ~TcpDialer();

  // Gives up an attempt that is under way.
  void start(Instant now, const std::string& host, const std::string& port);
  Instant deadline() const { return deadline_; }

  void add_to(PollSet& set);
  // True when the attempt is over: take() has the socket or the reason.
  bool step(Instant now, const PollSet& set);
  Result<UniqueFd> take();

 private:
  struct LookUp;

  bool fail(std::string reason);
  bool connect_next();

  bool is_dialing_ = false;
  Instant deadline_{};
  // Shared with the look-up's thread, which may outlive us: getaddrinfo(3) can't be interrupted.
  std::shared_ptr<LookUp> look_up_;
  std::size_t next_address_ = 0;
  UniqueFd socket_;
  std::size_t slot_ = kNoSlot;
  std::string failure_;
};

}  // namespace defib::run
