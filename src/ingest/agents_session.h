// One connection's conversation on the agents' endpoint, without its socket: commands in, replies out.
//
// Replies keep the order of the commands, although the answer to a published beat comes only after the core's
// step: it has a slot among the replies, filled by on_answer(). take_output() must follow the delivery of all answers.
// Behaves as Redis 7 does for what it serves (redis.io/docs/latest/commands), which is what agents need:
// beats, the agents' hashes and control channels (agents_session.cc), and what client libraries ask of a
// connection (agents_connection.cc).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"
#include "ingest/beat_codec.h"
#include "ingest/channels.h"
#include "ingest/inbox.h"
#include "ingest/key_space.h"
#include "wire/resp.h"

namespace defib::ingest {

// Since the start.
struct AgentsCounters {
  std::uint64_t commands = 0;
  std::uint64_t unknown_commands = 0;
  std::uint64_t protocol_errors = 0;
  std::uint64_t refused_beats = 0;  // By the codec, as a whole or in part.
  std::uint64_t bad_numbers = 0;    // In a written hash; ignored.
};

// What all sessions of one endpoint share. `inbox` and `codec` outlive it.
struct AgentsDesk {
  AgentsDesk(Inbox& inbox_, BeatCodec& codec_, std::string_view name_space, std::string token_, std::string run_id_);

  // A line in the log once a while, and the count.
  void note_refusal(std::uint64_t connection, std::string_view reason);

  Inbox& inbox;
  BeatCodec& codec;
  KeySpace keys;
  Channels channels;
  const std::string token;          // A secret; empty: everyone is welcome.
  const std::string beats_channel;  // "heartbeats" or "prod:heartbeats"
  const std::string key_prefix;     // "agent:" or "prod:agent:"
  const std::string run_id;         // 40 hex digits; another one after each start.
  AgentsCounters counters;
  std::uint64_t sessions = 0;
  Instant now{};  // Set before sessions run.

 private:
  Instant next_log_{};
  std::uint64_t unlogged_ = 0;
};

// Hears that a session has output, once until it is taken.
class SessionOutlet {
 public:
  virtual void on_output() = 0;

 protected:
  ~SessionOutlet() = default;
};

class AgentsSession final : public AnswerSink, public Listener {
 public:
  // Commands between MULTI and EXEC, and their bytes.
  static constexpr std::size_t kQueuedMax = 64;
  static constexpr std::size_t kQueuedBytesMax = 128 * 1024;
  static constexpr std::size_t kChannelsMax = 16;
  static constexpr std::size_t kChannelBytesMax = 256;
  // Output of one turn; above it the session is overrun.
  static constexpr std::size_t kOutputBytesMax = 2 * 1024 * 1024;

  // Both outlive the session.
  AgentsSession(AgentsDesk& desk, SessionOutlet& outlet, std::uint64_t connection);
  ~AgentsSession();
  AgentsSession(const AgentsSession&) = delete;
  AgentsSession& operator=(const AgentsSession&) = delete;

  // Must not be called where the inbox is full. One DEL may overfill it by its keys, a transaction by all that
  // kQueuedBytesMax can name.
  void run(const wire::Command& command);
  // Answers what the parser can't bear, and ends.
  void refuse(std::string_view fatal);
  // Leaves all channels: the connection is gone.
  void end();

  void on_answer(std::uint64_t ticket, core::Answer answer) override;
  void on_message(std::string_view channel, std::string_view payload) override;

  // Appends the replies and messages gathered since the last call.
  void take_output(std::string& out);
  // Without the slots.
  std::size_t output_bytes() const { return output_.size(); }
  // It has shown the token, where there is one.
  bool is_admitted() const { return is_admitted_; }
  // The connection closes once its output is sent.
  bool is_ending() const { return is_ending_; }
  // More output than anyone could read in a turn: the connection closes at once.
  bool is_overrun() const { return is_overrun_; }

 private:
  using Arguments = std::span<const std::string_view>;
  struct Entry;
  // Where the answer to a published beat stands among the replies.
  struct Slot {
    std::size_t offset;        // Into output_.
    std::string_view payload;  // For the channel's listeners; empty where there were none.
    int receivers = 0;
    core::Answer answer{};
    bool is_answered = false;
  };

  static std::span<const Entry> entries();
  static const Entry* find(std::string_view name);
  static std::size_t command_count();
  // Without looking whether it may run.
  void run_handler(Arguments arguments);
  bool may_run(const Entry& entry, const wire::Command& command);
  void unknown(std::string_view name);
  void enqueue(Arguments arguments);
  void note_output();

  // Agents.
  void publish(Arguments arguments);
  void hset(Arguments arguments);
  void hget(Arguments arguments);
  void hmget(Arguments arguments);
  void hgetall(Arguments arguments);
  void exists(Arguments arguments);
  void del(Arguments arguments);
  void expire(Arguments arguments);
  void ttl(Arguments arguments);
  void subscribe(Arguments arguments);
  void unsubscribe(Arguments arguments);
  void tell_record(std::string_view id, Arguments pairs);
  // The id within a key, or "" where the key is not one that is kept here.
  std::string_view agent_of(std::string_view key) const;

  // The connection.
  void hello(Arguments arguments);
  void auth(Arguments arguments);
  void ping(Arguments arguments);
  void echo(Arguments arguments);
  void select(Arguments arguments);
  void client(Arguments arguments);
  void command(Arguments arguments);
  void config(Arguments arguments);
  void info(Arguments arguments);
  void quit(Arguments arguments);
  void reset(Arguments arguments);
  void multi(Arguments arguments);
  void exec(Arguments arguments);
  void discard(Arguments arguments);
  bool check_token(std::string_view shown);
  void leave_transaction();

  void ok() { wire::append_simple(output_, "OK"); }
  void error(std::string_view text) { wire::append_error(output_, text); }
  void integer(std::int64_t number) { wire::append_integer(output_, number); }
  void bulk(std::string_view text) { wire::append_bulk(output_, text); }
  void null();
  // A map's head: RESP2 has none and gets a flat array.
  void map_head(std::size_t pairs);
  void push_head(std::size_t items);

  AgentsDesk& desk_;
  SessionOutlet& outlet_;
  const std::uint64_t connection_;
  std::string output_;
  std::vector<Slot> slots_;
  std::vector<std::string> channels_;
  std::vector<std::vector<std::string>> queued_;
  std::size_t queued_bytes_ = 0;
  std::string client_name_;
  int protocol_ = 2;
  bool has_output_ = false;
  bool is_admitted_;
  bool is_queuing_ = false;  // Between MULTI and EXEC.
  bool is_broken_ = false;   // A command could not be queued: EXEC refuses.
  bool is_ending_ = false;
  bool is_overrun_ = false;
};

}  // namespace defib::ingest
