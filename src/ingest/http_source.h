// Hearing agents over HTTP: POST /v1/heartbeats (one message, or one a line) and /ping/{id}, as healthchecks.io
// has it. Free of sockets: exchanges come from net/http_server, after the API has looked at host and token.
//
// An exchange is answered once the core has answered for all of its messages. One owner thread: the loop's.
// Borrows inbox and codec; they must outlive it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/time.h"
#include "core/effect.h"
#include "core/types.h"
#include "ingest/beat_codec.h"
#include "ingest/inbox.h"

namespace defib::net {
struct HttpRequest;
class HttpExchange;
}  // namespace defib::net

namespace defib::ingest {

struct HttpSourceCounters {
  std::uint64_t messages = 0;          // Of POST /v1/heartbeats, good or bad.
  std::uint64_t pings = 0;             // With a good id.
  std::uint64_t refused = 0;           // Messages and pings that were not accepted.
  std::uint64_t interval_ignored = 0;  // ?interval= of pings (rule of judgement 3).
  std::uint64_t busy = 0;              // Requests turned away with 503: the inbox was full.
};

// Commands for agents that post their beats: they wait here for the next one. Each is handed out once.
class CommandBox {
 public:
  static constexpr std::size_t kCommandsPerAgentMax = 8;
  static constexpr std::size_t kCommandsMax = 10'000;
  // Agents remembered in each of two generations; the older is forgotten when the newer is full.
  static constexpr std::size_t kCollectorsMax = 500'000;

  // This agent was heard here: it will collect its commands.
  void saw(std::string_view agent_id);
  // False where the agent was not heard here, or the bounds are reached.
  bool put(Instant now, const core::SendCommand& command);
  // What waits for this sender; empties its place. A fenced instance gets only what names it, or `fence`; no
  // other instance ever gets a `fence` that names none.
  std::vector<core::SendCommand> collect(Instant now, std::string_view agent_id, std::string_view instance_id,
                                         bool is_fenced);
  std::size_t size() const { return count_; }

 private:
  struct Waiting {
    Instant expires{};
    core::SendCommand command;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  using Names = std::unordered_set<std::string, Hash, std::equal_to<>>;

  void drop_expired(Instant now);

  Names newer_;
  Names older_;
  std::unordered_map<std::string, std::vector<Waiting>, Hash, std::equal_to<>> waiting_;
  std::size_t count_ = 0;
  Instant may_sweep_at_{};
};

class HttpSource final : public AnswerSink {
 public:
  static constexpr std::size_t kMessagesMax = 10'000;     // In one request.
  static constexpr std::size_t kRequestsWaitingMax = 64;  // With more messages than one turn has room for.
  static constexpr std::size_t kLogBytesMax = 8 * 1024;   // Of a ping's body.

  // `on_log(agent id, text)`: /ping/{id}/log, and the body of any ping that is no failure.
  using OnLog = std::function<void(std::string_view agent_id, std::string_view text)>;

  HttpSource(Inbox& inbox, BeatCodec& codec, OnLog on_log);
  ~HttpSource();
  HttpSource(const HttpSource&) = delete;
  HttpSource& operator=(const HttpSource&) = delete;

  // Whether a request is for this source: /v1/heartbeats and everything below /ping/.
  static bool handles(const net::HttpRequest& request);
  void handle(Instant now, std::shared_ptr<net::HttpExchange> exchange);

  // Goes on with requests that had more messages than the inbox had room; call it after each
  // Inbox::deliver(). True while some still wait for the turn after.
  bool resume(Instant now);

  // True where the agent posts its beats, so that it will collect the command with its next one.
  bool offer_command(Instant now, const core::SendCommand& command) { return commands_.put(now, command); }

  void on_answer(std::uint64_t ticket, core::Answer answer) override;
  const HttpSourceCounters& counters() const { return counters_; }

 private:
  struct Batch;
  struct Ping {
    std::shared_ptr<net::HttpExchange> exchange;
    std::string_view refusal;  // Static text; empty: the ping is good.
  };

  void handle_heartbeats(std::shared_ptr<net::HttpExchange> exchange);
  void handle_ping(std::shared_ptr<net::HttpExchange> exchange);
  void push_ping(Ping ping, core::Event event);
  void answer_ping(const Ping& ping, core::Answer answer);
  core::Beat ping_beat(const net::HttpRequest& request, std::string_view id);
  void feed(std::uint64_t number, Batch& batch);
  void feed_message(std::uint64_t number, Batch& batch, std::string_view message);
  void answer_message(Batch& batch, std::size_t index, core::Answer answer);
  void finish(const Batch& batch);
  void note_refusal(const net::HttpRequest& request, std::string_view reason);

  Inbox& inbox_;
  BeatCodec& codec_;
  OnLog on_log_;
  CommandBox commands_;
  HttpSourceCounters counters_;
  Instant now_{};
  // By request number; both are bounded by the inbox, and batches that wait by kRequestsWaitingMax.
  std::uint64_t next_number_ = 1;
  std::unordered_map<std::uint64_t, std::unique_ptr<Batch>> batches_;
  std::unordered_map<std::uint64_t, Ping> pings_;
  std::vector<std::uint64_t> waiting_;  // Batches that wait for room, oldest first.
  Instant may_log_at_{};
  std::uint64_t refused_unlogged_ = 0;
};

}  // namespace defib::ingest
