#include "ingest/agents_endpoint.h"

#include <fmt/format.h>
#include <utility>
#include <vector>

#include "base/prng.h"

namespace defib::ingest {
namespace {

// Output of one connection in one turn above which its further commands wait for the next turn.
constexpr std::size_t kOutputBytesCalm = 256 * 1024;

// 40 hex digits, another each time: clients tell by it whether a server has restarted.
std::string make_run_id() {
  Prng prng(static_cast<std::uint64_t>(net::read_steady().time_since_epoch().count()) ^
            static_cast<std::uint64_t>(to_ms(net::read_wall())) ^ std::hash<std::string>{}(net::read_boot_id()));
  return fmt::format("{:016x}{:016x}{:08x}", prng.next(), prng.next(), prng.next() >> 32);
}

class Peer;

// What the peers of one endpoint share beside the desk.
struct Turn {
  explicit Turn(AgentsDesk& desk_) : desk(desk_) {}

  AgentsDesk& desk;
  std::vector<Peer*> with_output;  // Until flush().
  std::vector<Peer*> stalled;      // Stopped at a full inbox, with commands left in their parsers.
  std::size_t held_bytes = 0;      // Of all parsers.
  std::string output;              // Of one connection, while it is written.
};

class Peer final : public net::StreamPeer, public SessionOutlet {
 public:
  Peer(Turn& turn, net::StreamConnection& connection)
      : turn_(turn), connection_(connection), session_(turn.desk, *this, connection.id()) {
    connection_.set_deadline(turn_.desk.now + AgentsEndpoint::kCommandTimeout);
  }
  ~Peer() override { count_held(0); }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  void on_bytes(std::string_view bytes) override {
    if (parser_.feed(bytes).ok()) run_commands();
  }
  bool wants_bytes() const override { return !is_stalled_ && !session_.is_ending() && !turn_.desk.inbox.is_full(); }
  void on_close() override {
    session_.end();
    std::erase(turn_.stalled, this);
  }
  void on_output() override { turn_.with_output.push_back(this); }

  void go_on() {
    is_stalled_ = false;
    if (connection_.is_open()) run_commands();
  }

  void flush() {
    turn_.output.clear();
    session_.take_output(turn_.output);
    if (session_.is_overrun()) return connection_.close_slow();
    connection_.send(turn_.output);
    if (session_.is_ending()) connection_.finish();
  }

 private:
  bool may_go_on() const {
    return !turn_.desk.inbox.is_full() && session_.output_bytes() < kOutputBytesCalm && !session_.is_overrun();
  }

  void run_commands() {
    bool has_run = false;
    while (!session_.is_ending()) {
      if (!may_go_on()) {
        parser_.keep();
        is_stalled_ = true;
        turn_.stalled.push_back(this);
        break;
      }
      const auto command = parser_.next();
      if (!command) break;
      session_.run(*command);
      has_run = true;
    }
    if (!parser_.fatal().empty()) session_.refuse(parser_.fatal());
    set_deadline(has_run);
    count_held(parser_.bytes_held());
    if (turn_.held_bytes > AgentsEndpoint::kHeldBytesMax && parser_.is_within_command()) {
      session_.refuse("too much is under way on all connections together; try again later");
    }
  }

  // A deadline runs until the first command (or the token), and while a command has begun and is not complete.
  void set_deadline(bool has_run) {
    if (session_.is_ending()) return;
    if (!has_run && (is_timed_ || !has_ever_run_)) return;
    has_ever_run_ = has_ever_run_ || (has_run && session_.is_admitted());
    if (!has_ever_run_) return;
    is_timed_ = parser_.is_within_command();
    connection_.set_deadline(is_timed_ ? turn_.desk.now + AgentsEndpoint::kCommandTimeout : kNever);
  }

  void count_held(std::size_t bytes) {
    turn_.held_bytes = turn_.held_bytes - held_bytes_ + bytes;
    held_bytes_ = bytes;
  }

  Turn& turn_;
  net::StreamConnection& connection_;
  wire::CommandParser parser_;
  AgentsSession session_;
  std::size_t held_bytes_ = 0;
  bool is_stalled_ = false;
  bool is_timed_ = false;      // A command has begun.
  bool has_ever_run_ = false;  // A command, once admitted.
};

}  // namespace

class AgentsEndpoint::Impl {
 public:
  Impl(net::Loop& loop, Inbox& inbox, BeatCodec& codec, AgentsOptions options)
      : desk_(inbox, codec, options.name_space, std::move(options.token), make_run_id()),
        turn_(desk_),
        server_(loop, {.connections_max = kConnectionsMax,
                       .refusal = "-ERR max number of clients reached\r\n",
                       .connect = [this](net::StreamConnection& connection) { return connect(connection); },
                       .may_read = [this] { return begin_batch(); }}) {}

  void flush(Instant now) {
    desk_.now = now;
    for (Peer* const peer : turn_.with_output) peer->flush();
    turn_.with_output.clear();
    server_.end_turn(now, !turn_.stalled.empty());
  }

  net::StreamServer& server() { return server_; }
  AgentsDesk& desk() { return desk_; }

 private:
  std::unique_ptr<net::StreamPeer> connect(net::StreamConnection& connection) {
    return std::make_unique<Peer>(turn_, connection);
  }

  // Goes on with what a full inbox stopped before anything new is read.
  bool begin_batch() {
    desk_.now = net::read_steady();
    const auto stalled = std::exchange(turn_.stalled, {});
    for (Peer* const peer : stalled) peer->go_on();
    return !desk_.inbox.is_full();
  }

  AgentsDesk desk_;
  Turn turn_;
  net::StreamServer server_;  // Its peers borrow the others.
};

AgentsEndpoint::AgentsEndpoint(net::Loop& loop, Inbox& inbox, BeatCodec& codec, AgentsOptions options)
    : impl_(std::make_unique<Impl>(loop, inbox, codec, std::move(options))) {}
AgentsEndpoint::~AgentsEndpoint() = default;
Result<std::uint16_t> AgentsEndpoint::listen(std::string_view address) { return impl_->server().listen(address); }
void AgentsEndpoint::close() { impl_->server().close(); }
int AgentsEndpoint::publish(std::string_view channel, std::string_view payload) {
  return impl_->desk().channels.publish(channel, payload);
}
void AgentsEndpoint::flush(Instant now) { impl_->flush(now); }
Instant AgentsEndpoint::next_wakeup() const { return impl_->server().next_wakeup(); }
const AgentsCounters& AgentsEndpoint::counters() const { return impl_->desk().counters; }
const net::StreamCounters& AgentsEndpoint::connections() const { return impl_->server().counters(); }

}  // namespace defib::ingest
