// A TCP server for a protocol of small requests on many connections: bytes in, bytes out, in turns.
//
// Readiness comes from an epoll set of its own (epoll(7), level-triggered) that the loop watches as one
// descriptor: a read costs one system call and no re-arming, whatever is not read yet is told again in the next
// turn, and an idle connection costs a few hundred bytes and no buffer. Each turn reads one batch:
// at most kReadBytesMax from each of at most kReadyPerTurnMax connections; end_turn() allows the next.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "net/loop.h"

namespace defib::net {

// One connection, as its peer sees it. Lives until the end of the turn in which it closed.
class StreamConnection {
 public:
  // Unsent bytes above this: nothing more is read from it until they are gone.
  static constexpr std::size_t kUnsentBytesCalm = 64 * 1024;
  // Above this it is closed as too slow.
  static constexpr std::size_t kUnsentBytesMax = 1024 * 1024;

  virtual ~StreamConnection() = default;
  // Counts from 1 within the process of a server; never reused.
  virtual std::uint64_t id() const = 0;
  // Writes what the socket takes now and queues the rest.
  virtual void send(std::string_view bytes) = 0;
  // Sends what is queued, then closes; nothing more is read.
  virtual void finish() = 0;
  // Closes at once: it reads too slowly for what it asks.
  virtual void close_slow() = 0;
  // Closed at that instant (give or take kOverdueCheck) unless it is moved before; kNever at first.
  virtual void set_deadline(Instant deadline) = 0;
  virtual bool is_open() const = 0;
};

// What speaks the protocol on one connection. Destroyed at the end of the turn in which it closed.
class StreamPeer {
 public:
  virtual ~StreamPeer() = default;
  // Bytes are borrowed for the call.
  virtual void on_bytes(std::string_view bytes) = 0;
  // False: not now; what has come waits in the kernel.
  virtual bool wants_bytes() const = 0;
  // The connection has closed, by whichever side.
  virtual void on_close() = 0;
};

struct StreamCounters {
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;      // At the bound of connections.
  std::uint64_t closed_slow = 0;  // Did not read what it asked for.
  std::uint64_t overdue = 0;      // Its deadline passed.
  std::uint64_t open = 0;         // Now.
};

class StreamServer {
 public:
  static constexpr std::size_t kReadBytesMax = 64 * 1024;
  static constexpr int kReadyPerTurnMax = 512;
  // How often deadlines are looked at.
  static constexpr Duration kOverdueCheck = 5s;

  struct Options {
    std::size_t connections_max = 10'000;
    // What a connection above the bound is told before it is closed.
    std::string refusal;
    std::function<std::unique_ptr<StreamPeer>(StreamConnection&)> connect;
    // Called before each batch of reads; false: read nothing in this turn.
    std::function<bool()> may_read;
  };

  StreamServer(Loop& loop, Options options);
  ~StreamServer();

  // See net/address.h. Returns the bound port, or what to do where the address is taken. Once only.
  Result<std::uint16_t> listen(std::string_view address);
  // Stops accepting and closes all connections.
  void close();

  // Ends a turn: destroys what has closed, closes what is overdue, then waits for bytes again; with `at_once`
  // the next batch comes without waiting.
  void end_turn(Instant now, bool at_once);
  // When end_turn() must be called though nothing happens; kNever where there is no connection.
  Instant next_wakeup() const;
  const StreamCounters& counters() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace defib::net
