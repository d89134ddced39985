// The link over Redis' protocol, to the monitor's own endpoint or to a Redis between: one RESP3 connection, on which
// beats go out and commands come in (a subscription on the same connection needs HELLO 3, hence Redis 6).
#pragma once

#include <deque>

#include "run/monitor_link.h"
#include "run/tcp_dialer.h"
#include "wire/resp.h"

namespace defib::run {

class RespLink final : public MonitorLink {
 public:
  explicit RespLink(LinkOptions options);

  void say(Instant now, Message beat) override;
  void keep(Instant now, Message message, bool is_registration) override;
  bool has_unsaid() const override { return !kept_.empty(); }
  bool is_heard() const override { return phase_ == Phase::open && is_heard_; }
  bool is_lost() const override { return outage_.is_out(); }
  bool hears_commands() const override { return is_heard(); }
  void add_to(PollSet& set) override;
  void step(Instant now, const PollSet& set) override;
  Instant next_wakeup() const override;
  std::vector<LinkEvent> take_events() override;

 private:
  // Waiting to dial, dialing, connected and waiting for HELLO's answer, or ready to talk.
  enum class Phase : std::uint8_t { waiting, dialing, greeting, open };
  enum class Expected : std::uint8_t { hello, beat, report, other };
  struct Question {
    Expected kind;
    std::uint64_t kept_id;  // What is said once this is answered; 0: nothing that was kept.
    Instant asked_at;
  };
  struct Kept {
    std::uint64_t id;
    Message message;
  };
  // Above this much unsent the peer does not read, and the connection is given up.
  static constexpr std::size_t kUnsentBytesMax = 1024 * 1024;
  // Between two beats that are far apart the connection is tried this often.
  static constexpr Duration kPingAfter = 60s;

  void greet(Instant now, UniqueFd socket);
  void ask(Instant now, Expected kind, std::initializer_list<std::string_view> arguments);
  void put(Instant now, const Message& message, Expected kind, std::uint64_t kept_id);
  bool receive(Instant now);
  bool send_waiting(Instant now);
  bool on_reply(Instant now, const wire::RespValue& value);
  bool on_hello(Instant now, const wire::RespValue& value);
  void on_push(const wire::RespValue& value);
  // Each of the above that can end in this returns false then.
  bool disconnect(Instant now, const std::string& reason);

  const LinkOptions options_;
  const std::string channel_;
  const std::string control_channel_;
  const std::string key_;
  const std::string expire_seconds_;  // Of the hash.

  Phase phase_ = Phase::waiting;
  Instant dial_at_{};
  ReconnectDelay delay_;
  TcpDialer dialer_;
  UniqueFd socket_;
  std::size_t slot_ = kNoSlot;
  std::string unsent_;
  wire::ReplyParser parser_;
  std::deque<Question> questions_;  // Sent and not yet answered, oldest first.
  Instant last_received_{};
  bool is_heard_ = false;

  std::deque<Kept> kept_;
  std::uint64_t last_kept_id_ = 0;
  Message registration_;  // The last one.
  OutageTeller outage_;
  std::vector<LinkEvent> events_;
};

}  // namespace defib::run
