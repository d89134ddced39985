// The agents' endpoint: a server of the Redis protocol that any Redis client can use as if it were Redis.
//
// On the loop thread. In each turn: bytes are read and become events in the inbox; the daemon steps the core and
// delivers the answers; then flush() writes all replies of the turn, one write a connection. Where the inbox is
// full, reading stops until the next turn and goes on where it stopped.
//
// Bounds: 10,000 connections, of which an idle one costs less than 8 KB; 60 s for the first command (with a
// token: for showing it) and for the rest of one that has begun; AgentsSession's, net::StreamConnection's and
// wire::CommandParser's own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "ingest/agents_session.h"
#include "net/loop.h"
#include "net/stream_server.h"

namespace defib::ingest {

struct AgentsOptions {
  std::string name_space;  // Put before channel and keys with ':'; empty: none.
  std::string token;       // A secret; empty: none.
};

class AgentsEndpoint {
 public:
  static constexpr std::size_t kConnectionsMax = 10'000;
  static constexpr Duration kCommandTimeout = 60s;
  // Bytes of commands that all connections together hold while they wait for the rest.
  static constexpr std::size_t kHeldBytesMax = 256 * 1024 * 1024;

  // `loop`, `inbox` and `codec` outlive it.
  AgentsEndpoint(net::Loop& loop, Inbox& inbox, BeatCodec& codec, AgentsOptions options);
  ~AgentsEndpoint();

  // "127.0.0.1:7379", "[::1]:0". Returns the bound port, or what to do where the address is taken.
  Result<std::uint16_t> listen(std::string_view address);
  // Stops accepting and closes all connections.
  void close();

  // To all who subscribed to `channel` (its whole name, with the namespace where it has one); how many that are.
  // Goes out with the next flush().
  int publish(std::string_view channel, std::string_view payload);
  // Ends a turn, after Inbox::deliver(): writes out, closes what is overdue, and allows the next reads.
  void flush(Instant now);
  // When flush() must be called though nothing happens.
  Instant next_wakeup() const;

  const AgentsCounters& counters() const;
  const net::StreamCounters& connections() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace defib::ingest
