#include "run/resp_link.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <span>
#include <sys/socket.h>

namespace defib::run {
namespace {

using wire::RespValue;

std::string prefixed(const std::string& name_space, std::string_view name) {
  return name_space.empty() ? std::string(name) : fmt::format("{}:{}", name_space, name);
}

// The hash outlives four missed beats, and at least an hour, so that host and pid are there when they are needed.
std::string hash_lifetime(Duration interval) {
  return std::to_string(std::max<std::int64_t>(3600, 4 * interval / Duration(1s)));
}

}  // namespace

RespLink::RespLink(LinkOptions options)
    : options_(std::move(options)),
      channel_(prefixed(options_.name_space, "heartbeats")),
      control_channel_(prefixed(options_.name_space, "defib:control:" + options_.agent_id)),
      key_(prefixed(options_.name_space, "agent:" + options_.agent_id)),
      expire_seconds_(hash_lifetime(options_.interval)),
      delay_(options_.interval, options_.seed) {}

void RespLink::say(Instant now, Message beat) {
  if (phase_ != Phase::open) return;
  put(now, beat, Expected::beat, 0);
  send_waiting(now);
}

void RespLink::keep(Instant now, Message message, bool is_registration) {
  if (is_registration) registration_ = message;
  if (kept_.size() >= kKeptMax) kept_.pop_front();
  kept_.push_back({++last_kept_id_, std::move(message)});
  if (phase_ != Phase::open) return;
  put(now, kept_.back().message, Expected::report, kept_.back().id);
  send_waiting(now);
}

// ---- Turns -------------------------------------------------------------------------------------------------

void RespLink::add_to(PollSet& set) {
  dialer_.add_to(set);
  const short events = unsent_.empty() ? POLLIN : POLLIN | POLLOUT;
  slot_ = socket_.is_open() ? set.add(socket_.get(), events) : kNoSlot;
}

void RespLink::step(Instant now, const PollSet& set) {
  if (phase_ == Phase::waiting) {
    if (now < dial_at_) return;
    phase_ = Phase::dialing;
    dialer_.start(now, options_.url.host, options_.url.port);
  }
  if (phase_ == Phase::dialing) {
    if (!dialer_.step(now, set)) return;
    Result<UniqueFd> socket = dialer_.take();
    if (socket) {
      greet(now, std::move(socket).value());
    } else {
      disconnect(now, socket.error());
    }
    return;
  }
  if (set.ready(slot_) != 0 && (!receive(now) || !send_waiting(now))) return;
  if (!questions_.empty() && now - questions_.front().asked_at >= kAnswerLimit) {
    disconnect(now, "no answer");
  } else if (phase_ == Phase::open && questions_.empty() && now - last_received_ >= kPingAfter) {
    ask(now, Expected::other, {"PING"});
    send_waiting(now);
  }
}

Instant RespLink::next_wakeup() const {
  if (phase_ == Phase::waiting) return dial_at_;
  if (phase_ == Phase::dialing) return dialer_.deadline();
  return questions_.empty() ? last_received_ + kPingAfter : questions_.front().asked_at + kAnswerLimit;
}

std::vector<LinkEvent> RespLink::take_events() { return std::exchange(events_, {}); }

// ---- Out ---------------------------------------------------------------------------------------------------

void RespLink::greet(Instant now, UniqueFd socket) {
  socket_ = std::move(socket);
  phase_ = Phase::greeting;
  last_received_ = now;
  const MonitorUrl& url = options_.url;
  const std::string& password = url.password.empty() ? options_.token : url.password;
  if (password.empty()) {
    ask(now, Expected::hello, {"HELLO", "3"});
  } else {
    ask(now, Expected::hello, {"HELLO", "3", "AUTH", url.user.empty() ? "default" : url.user, password});
  }
  send_waiting(now);
}

void RespLink::ask(Instant now, Expected kind, std::initializer_list<std::string_view> arguments) {
  wire::append_command(unsent_, arguments);
  questions_.push_back({kind, 0, now});
}

void RespLink::put(Instant now, const Message& message, Expected kind, std::uint64_t kept_id) {
  if (!message.json.empty()) ask(now, kind, {"PUBLISH", channel_, message.json});
  if (!message.fields.empty()) {
    std::vector<std::string_view> arguments = {"HSET", key_};
    for (const auto& [field, value] : message.fields) arguments.insert(arguments.end(), {field, value});
    wire::append_command(unsent_, std::span<const std::string_view>(arguments));
    questions_.push_back({Expected::other, 0, now});
    ask(now, Expected::other, {"EXPIRE", key_, expire_seconds_});
  }
  questions_.back().kept_id = kept_id;
}

bool RespLink::send_waiting(Instant now) {
  std::size_t sent = 0;
  while (sent < unsent_.size()) {
    const ssize_t got = send(socket_.get(), unsent_.data() + sent, unsent_.size() - sent, MSG_NOSIGNAL);
    if (got > 0) {
      sent += static_cast<std::size_t>(got);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      return disconnect(now, std::strerror(errno));
    }
  }
  unsent_.erase(0, sent);
  if (unsent_.size() > kUnsentBytesMax) return disconnect(now, "it does not read");
  return true;
}

// ---- In ----------------------------------------------------------------------------------------------------

bool RespLink::receive(Instant now) {
  std::array<char, 16 * 1024> buffer;
  const ssize_t got = recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (got < 0) return disconnect(now, std::strerror(errno));
  if (got == 0) return disconnect(now, "it closed the connection");
  last_received_ = now;
  const Done fed = parser_.feed({buffer.data(), static_cast<std::size_t>(got)});
  while (const std::optional<RespValue> value = parser_.next()) {
    if (value->kind == RespValue::Kind::push) {
      on_push(*value);
    } else if (!on_reply(now, *value)) {
      return false;
    }
  }
  if (!fed || !parser_.fatal().empty()) return disconnect(now, "it does not speak Redis' protocol");
  return true;
}

bool RespLink::on_reply(Instant now, const RespValue& value) {
  if (questions_.empty()) return disconnect(now, "it answered what was not asked");
  const Question question = questions_.front();
  questions_.pop_front();
  if (question.kind == Expected::hello) return on_hello(now, value);
  if (question.kind == Expected::beat || question.kind == Expected::report) {
    if (value.kind == RespValue::Kind::error && value.text.starts_with("FENCED")) {
      events_.push_back({.kind = LinkEvent::Kind::fenced, .text = value.text});
    }
    const bool is_taken = value.kind == RespValue::Kind::integer && value.integer > 0;
    // A report may be refused as late; only a beat that nobody took says that nobody hears us.
    if (is_taken || question.kind == Expected::beat) is_heard_ = is_taken;
  }
  if (question.kept_id != 0) {
    std::erase_if(kept_, [&](const Kept& kept) { return kept.id == question.kept_id; });
  }
  return true;
}

bool RespLink::on_hello(Instant now, const RespValue& value) {
  if (value.kind == RespValue::Kind::error) {
    return disconnect(now, fmt::format("it refused HELLO 3: {}", value.text));
  }
  phase_ = Phase::open;
  delay_.reset();
  outage_.on_success();
  if (options_.url.database != 0) ask(now, Expected::other, {"SELECT", std::to_string(options_.url.database)});
  // Its answer is a push: nothing is expected.
  wire::append_command(unsent_, {"SUBSCRIBE", control_channel_});
  for (const Kept& kept : kept_) put(now, kept.message, Expected::report, kept.id);
  // A monitor that forgot us learns who we are; one that knows us sees nothing new.
  if (kept_.empty() && !registration_.fields.empty()) put(now, registration_, Expected::report, 0);
  events_.push_back({.kind = LinkEvent::Kind::on_line});
  return send_waiting(now);
}

void RespLink::on_push(const RespValue& value) {
  const auto text_at = [&](std::size_t i) -> const std::string& { return value.items[i].text; };
  if (value.items.size() != 3 || text_at(0) != "message" || text_at(1) != control_channel_) return;
  Result<ControlCommand> command = parse_command(text_at(2));
  if (!command) return;  // The channel is open to anyone who may publish: what can't be read is no command.
  events_.push_back({.kind = LinkEvent::Kind::command, .command = std::move(command).value()});
}

bool RespLink::disconnect(Instant now, const std::string& reason) {
  socket_.reset();
  slot_ = kNoSlot;
  unsent_.clear();
  questions_.clear();
  parser_ = wire::ReplyParser();
  is_heard_ = false;
  phase_ = Phase::waiting;
  dial_at_ = now + delay_.next();
  outage_.on_failure(now, options_.url.printable(), reason, events_);
  return false;
}

std::unique_ptr<MonitorLink> make_resp_link(LinkOptions options) {
  return std::make_unique<RespLink>(std::move(options));
}

}  // namespace defib::run
