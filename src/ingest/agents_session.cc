#include "ingest/agents_session.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <spdlog/spdlog.h>
#include <utility>

#include "base/check.h"
#include "base/ids.h"
#include "base/text.h"

namespace defib::ingest {
namespace {

constexpr Duration kLogEvery = 10s;
// What a session keeps between turns; more is given back, so that an idle one stays small.
constexpr std::size_t kIdleBytesMax = 1024;
constexpr std::size_t kIdleSlotsMax = 32;
// Text of a registration beyond this is of no use to anyone.
constexpr std::size_t kRecordTextBytesMax = 256;
// Of what a client sent, in an error.
constexpr std::size_t kShownBytesMax = 64;
// Longer than any command's name.
constexpr std::size_t kNameBytesMax = 16;
// 285 years: the longest that fits a Duration with room for the clock.
constexpr std::int64_t kExpireSecondsMax = 9'000'000'000;

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

// A client's own word within an error or a log line: short, and without control characters.
std::string shown(std::string_view text) {
  std::string out(text.substr(0, kShownBytesMax));
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return out;
}

std::string with_namespace(std::string_view name_space, std::string_view name) {
  return name_space.empty() ? std::string(name) : fmt::format("{}:{}", name_space, name);
}

}  // namespace

// ---- The desk ----------------------------------------------------------------------------------------

AgentsDesk::AgentsDesk(Inbox& inbox_, BeatCodec& codec_, std::string_view name_space, std::string token_,
                       std::string run_id_)
    : inbox(inbox_),
      codec(codec_),
      token(std::move(token_)),
      beats_channel(with_namespace(name_space, "heartbeats")),
      key_prefix(with_namespace(name_space, "agent:")),
      run_id(std::move(run_id_)) {}

void AgentsDesk::note_refusal(std::uint64_t connection, std::string_view reason) {
  ++counters.refused_beats;
  if (now < next_log_) {
    ++unlogged_;
    return;
  }
  spdlog::warn("a beat on connection {} was refused: {} ({} more refused since the last such line)", connection,
               clip(reason, 4 * kShownBytesMax), std::exchange(unlogged_, 0));
  next_log_ = now + kLogEvery;
}

// ---- The commands ------------------------------------------------------------------------------------

struct AgentsSession::Entry {
  enum Flag : unsigned {
    none = 0,
    before_auth = 1,     // May come before the token.
    when_listening = 2,  // May come on a RESP2 connection that listens to channels.
    never_queued = 4,    // Runs at once between MULTI and EXEC.
    never_in_multi = 8,  // Is refused between MULTI and EXEC.
  };

  std::string_view name;
  std::size_t least;  // Arguments, its name included.
  std::size_t most;
  unsigned flags;
  void (AgentsSession::*handler)(Arguments);
};

std::span<const AgentsSession::Entry> AgentsSession::entries() {
  using S = AgentsSession;
  constexpr std::size_t any = wire::kRespArgumentsMax;
  static constexpr Entry kEntries[] = {
      {"PUBLISH", 3, 3, Entry::none, &S::publish},
      {"HSET", 4, any, Entry::none, &S::hset},
      {"EXPIRE", 3, 3, Entry::none, &S::expire},
      {"AUTH", 2, 3, Entry::before_auth | Entry::never_in_multi, &S::auth},
      {"CLIENT", 2, any, Entry::none, &S::client},
      {"COMMAND", 1, any, Entry::none, &S::command},
      {"CONFIG", 2, any, Entry::none, &S::config},
      {"DEL", 2, any, Entry::none, &S::del},
      {"DISCARD", 1, 1, Entry::never_queued, &S::discard},
      {"ECHO", 2, 2, Entry::none, &S::echo},
      {"EXEC", 1, 1, Entry::never_queued, &S::exec},
      {"EXISTS", 2, any, Entry::none, &S::exists},
      {"HELLO", 1, 7, Entry::before_auth | Entry::never_in_multi, &S::hello},
      {"HGET", 3, 3, Entry::none, &S::hget},
      {"HGETALL", 2, 2, Entry::none, &S::hgetall},
      {"HMGET", 3, any, Entry::none, &S::hmget},
      {"HMSET", 4, any, Entry::none, &S::hset},
      {"INFO", 1, any, Entry::none, &S::info},
      {"MULTI", 1, 1, Entry::never_queued, &S::multi},
      {"PEXPIRE", 3, 3, Entry::none, &S::expire},
      {"PING", 1, 2, Entry::when_listening, &S::ping},
      {"PTTL", 2, 2, Entry::none, &S::ttl},
      {"QUIT", 1, any, Entry::before_auth | Entry::when_listening | Entry::never_queued, &S::quit},
      {"RESET", 1, 1, Entry::before_auth | Entry::when_listening | Entry::never_queued, &S::reset},
      {"SELECT", 2, 2, Entry::none, &S::select},
      {"SUBSCRIBE", 2, any, Entry::when_listening | Entry::never_in_multi, &S::subscribe},
      {"TTL", 2, 2, Entry::none, &S::ttl},
      {"UNSUBSCRIBE", 1, any, Entry::when_listening | Entry::never_in_multi, &S::unsubscribe},
  };
  return kEntries;
}

std::size_t AgentsSession::command_count() { return entries().size(); }

const AgentsSession::Entry* AgentsSession::find(std::string_view name) {
  if (name.size() > kNameBytesMax) return nullptr;
  char letters[kNameBytesMax];
  std::ranges::transform(name, letters, upper);
  const std::string_view upper_case(letters, name.size());
  const std::span<const Entry> all = entries();
  const auto found = std::ranges::find(all, upper_case, &Entry::name);
  return found == all.end() ? nullptr : &*found;
}

void AgentsSession::run_handler(Arguments arguments) {
  const Entry* const entry = find(arguments[0]);
  DEFIB_CHECK(entry != nullptr);
  (this->*entry->handler)(arguments);
}

// ---- The conversation --------------------------------------------------------------------------------

AgentsSession::AgentsSession(AgentsDesk& desk, SessionOutlet& outlet, std::uint64_t connection)
    : desk_(desk), outlet_(outlet), connection_(connection), is_admitted_(desk.token.empty()) {
  ++desk_.sessions;
}

AgentsSession::~AgentsSession() {
  end();
  --desk_.sessions;
}

void AgentsSession::run(const wire::Command& command) {
  DEFIB_CHECK(!command.arguments.empty());
  if (is_ending_ || is_overrun_) return;
  ++desk_.counters.commands;
  note_output();
  const Arguments arguments = command.arguments;
  const Entry* const entry = find(arguments[0]);
  if (entry == nullptr) {
    unknown(arguments[0]);
    is_broken_ = is_queuing_;
  } else if (!may_run(*entry, command)) {
    is_broken_ = is_queuing_;
  } else if (is_queuing_ && (entry->flags & Entry::never_queued) == 0) {
    enqueue(arguments);
  } else {
    (this->*entry->handler)(arguments);
  }
  if (output_.size() > kOutputBytesMax) is_overrun_ = true;
}

void AgentsSession::unknown(std::string_view name) {
  ++desk_.counters.unknown_commands;
  error(fmt::format("ERR unknown command '{}'; this is defib, which speaks the part of Redis that agents need",
                    shown(name)));
}

// Answers why not, where it may not.
bool AgentsSession::may_run(const Entry& entry, const wire::Command& command) {
  const auto has = [&entry](Entry::Flag flag) { return (entry.flags & flag) != 0; };
  const auto name = [&entry] {
    std::string lower_case(entry.name);
    std::ranges::transform(lower_case, lower_case.begin(), [](char c) { return static_cast<char>(c - 'A' + 'a'); });
    return lower_case;
  };
  if (command.arguments.size() < entry.least || command.arguments.size() > entry.most) {
    error(fmt::format("ERR wrong number of arguments for '{}' command", name()));
  } else if (!is_admitted_ && !has(Entry::before_auth)) {
    error("NOAUTH Authentication required.");
  } else if (command.is_oversized && !is_queuing_ && std::string_view(entry.name) == "PUBLISH") {
    // A refused beat is answered 0: an error would end the guide's client.
    desk_.note_refusal(connection_, fmt::format("the message is above {} bytes", wire::kRespBulkBytesMax));
    integer(0);
  } else if (command.is_oversized) {
    error(fmt::format("ERR an argument of '{}' is above {} bytes", name(), wire::kRespBulkBytesMax));
  } else if (protocol_ == 2 && !channels_.empty() && !has(Entry::when_listening)) {
    error(
        fmt::format("ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
                    "allowed in this context",
                    name()));
  } else if (is_queuing_ && has(Entry::never_in_multi)) {
    error(fmt::format("ERR Command '{}' not allowed inside a transaction", name()));
  } else {
    return true;
  }
  return false;
}

void AgentsSession::refuse(std::string_view fatal) {
  if (is_ending_) return;
  ++desk_.counters.protocol_errors;
  note_output();
  error(fmt::format("ERR {}", fatal));
  is_ending_ = true;
}

void AgentsSession::end() {
  for (const std::string& channel : channels_) desk_.channels.leave(channel, *this);
  channels_.clear();
}

void AgentsSession::note_output() {
  if (std::exchange(has_output_, true)) return;
  outlet_.on_output();
}

void AgentsSession::on_answer(std::uint64_t ticket, core::Answer answer) {
  DEFIB_CHECK(ticket < slots_.size());
  Slot& slot = slots_[ticket];
  DEFIB_CHECK(!slot.is_answered);
  slot.is_answered = true;
  slot.answer = answer;
  if (answer == core::Answer::accepted && !slot.payload.empty()) {
    slot.receivers = desk_.channels.publish(desk_.beats_channel, slot.payload);
  }
}

void AgentsSession::on_message(std::string_view channel, std::string_view payload) {
  if (is_ending_ || is_overrun_) return;
  note_output();
  push_head(3);
  bulk("message");
  bulk(channel);
  bulk(payload);
  if (output_.size() > kOutputBytesMax) is_overrun_ = true;
}

void AgentsSession::take_output(std::string& out) {
  std::size_t from = 0;
  for (const Slot& slot : slots_) {
    DEFIB_CHECK(slot.is_answered);
    out.append(output_, from, slot.offset - from);
    from = slot.offset;
    if (slot.answer == core::Answer::fenced) {
      wire::append_error(out, "FENCED this instance was replaced; stop");
    } else {
      wire::append_integer(out, slot.answer == core::Answer::accepted ? 1 + slot.receivers : 0);
    }
  }
  out.append(output_, from);
  output_.clear();
  slots_.clear();
  if (output_.capacity() > kIdleBytesMax) std::string().swap(output_);
  if (slots_.capacity() > kIdleSlotsMax) std::vector<Slot>().swap(slots_);
  has_output_ = false;
}

void AgentsSession::null() { output_.append(protocol_ == 3 ? "_\r\n" : "$-1\r\n"); }

void AgentsSession::map_head(std::size_t pairs) {
  wire::append_head(output_, protocol_ == 3 ? '%' : '*', protocol_ == 3 ? pairs : 2 * pairs);
}

void AgentsSession::push_head(std::size_t items) { wire::append_head(output_, protocol_ == 3 ? '>' : '*', items); }

// ---- Agents: beats, hashes, channels -----------------------------------------------------------------

void AgentsSession::publish(Arguments arguments) {
  const std::string_view payload = arguments[2];
  if (arguments[1] != desk_.beats_channel) return integer(desk_.channels.publish(arguments[1], payload));
  auto beat = desk_.codec.decode(payload, desk_.inbox.arena());
  if (!beat) {
    desk_.note_refusal(connection_, beat.error());
    return integer(0);
  }
  if (!beat.value().refusal.empty()) desk_.note_refusal(connection_, beat.value().refusal);
  beat.value().connection = connection_;
  const bool is_heard = desk_.channels.has_listeners(desk_.beats_channel);
  slots_.push_back({.offset = output_.size(), .payload = is_heard ? desk_.inbox.keep(payload) : std::string_view()});
  desk_.inbox.push(core::BeatReceived{.source = core::Source::endpoint, .beat = beat.value()}, this, slots_.size() - 1);
}

std::string_view AgentsSession::agent_of(std::string_view key) const {
  if (!key.starts_with(desk_.key_prefix)) return {};
  key.remove_prefix(desk_.key_prefix.size());
  return is_valid_agent_id(key) ? key : std::string_view();
}

void AgentsSession::hset(Arguments arguments) {
  const bool is_hmset = arguments[0].size() == std::string_view("HMSET").size();
  if (arguments.size() % 2 != 0) {
    return error(fmt::format("ERR wrong number of arguments for '{}' command", is_hmset ? "hmset" : "hset"));
  }
  const std::string_view id = agent_of(arguments[1]);
  if (id.empty()) {
    return error(fmt::format("ERR only hashes named {}ID are kept here, and {}", desk_.key_prefix, kAgentIdRule));
  }
  const Arguments pairs = arguments.subspan(2);
  const auto added = desk_.keys.set(desk_.now, id, pairs);
  if (!added) return error(added.error());
  tell_record(id, pairs);
  if (is_hmset) return ok();
  integer(added.value());
}

// Registration and goodbye are news for the core; what the guide's client writes at each beat is not.
void AgentsSession::tell_record(std::string_view id, Arguments pairs) {
  core::RecordWritten record{.source = core::Source::endpoint, .connection = connection_};
  const auto number = [this](std::string_view text) {
    const auto parsed = wire::parse_integer(text);
    if (!parsed || *parsed < 0) {
      ++desk_.counters.bad_numbers;
      return std::optional<std::int64_t>();
    }
    return parsed;
  };
  bool is_news = false;
  for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
    const std::string_view name = pairs[i];
    const std::string_view value = pairs[i + 1];
    if (name == "registeredAt") {
      record.registered_at_ms = number(value);
    } else if (name == "stoppedAt") {
      record.stopped_at_ms = number(value);
    } else if (name == "type") {
      record.type = desk_.inbox.keep(clip(value, kRecordTextBytesMax));
    } else if (name == "host") {
      record.host = desk_.inbox.keep(clip(value, kRecordTextBytesMax));
    } else if (name == "pid") {
      record.pid = number(value).value_or(0);
    } else {
      continue;
    }
    is_news = true;
  }
  if (!is_news) return;
  record.agent_id = desk_.inbox.keep(id);
  desk_.inbox.push(record);
}

void AgentsSession::hget(Arguments arguments) {
  const auto value = desk_.keys.field(desk_.now, agent_of(arguments[1]), arguments[2]);
  return value ? bulk(*value) : null();
}

void AgentsSession::hmget(Arguments arguments) {
  const std::string_view id = agent_of(arguments[1]);
  wire::append_head(output_, '*', arguments.size() - 2);
  for (const std::string_view name : arguments.subspan(2)) {
    const auto value = desk_.keys.field(desk_.now, id, name);
    value ? bulk(*value) : null();
  }
}

void AgentsSession::hgetall(Arguments arguments) {
  const std::string_view id = agent_of(arguments[1]);
  map_head(desk_.keys.field_count(desk_.now, id));
  desk_.keys.each_field(desk_.now, id, [this](std::string_view name, std::string_view value) {
    bulk(name);
    bulk(value);
  });
}

void AgentsSession::exists(Arguments arguments) {
  std::int64_t found = 0;
  for (const std::string_view key : arguments.subspan(1)) found += desk_.keys.exists(desk_.now, agent_of(key)) ? 1 : 0;
  integer(found);
}

// Also where the hash has expired: the agent may be known all the same.
void AgentsSession::del(Arguments arguments) {
  std::int64_t removed = 0;
  for (const std::string_view key : arguments.subspan(1)) {
    const std::string_view id = agent_of(key);
    if (id.empty()) continue;
    removed += desk_.keys.remove(desk_.now, id) ? 1 : 0;
    desk_.inbox.push(core::Deregistered{.agent_id = desk_.inbox.keep(id)});
  }
  integer(removed);
}

void AgentsSession::expire(Arguments arguments) {
  const bool is_ms = upper(arguments[0].front()) == 'P';
  const auto length = wire::parse_integer(arguments[2]);
  if (!length) return error("ERR value is not an integer or out of range");
  const std::int64_t most = is_ms ? kExpireSecondsMax * 1000 : kExpireSecondsMax;
  if (*length > most || *length < -most) {
    return error(fmt::format("ERR invalid expire time in '{}' command", is_ms ? "pexpire" : "expire"));
  }
  const Duration duration = from_ms(is_ms ? *length : *length * 1000);
  integer(desk_.keys.expire_after(desk_.now, agent_of(arguments[1]), duration) ? 1 : 0);
}

void AgentsSession::ttl(Arguments arguments) {
  const bool is_ms = upper(arguments[0].front()) == 'P';
  const auto expiry = desk_.keys.expiry(desk_.now, agent_of(arguments[1]));
  if (!expiry) return integer(-2);
  if (*expiry == kNever) return integer(-1);
  const std::int64_t ms = to_ms(*expiry - desk_.now);
  integer(is_ms ? ms : (ms + 500) / 1000);
}

void AgentsSession::subscribe(Arguments arguments) {
  for (const std::string_view channel : arguments.subspan(1)) {
    if (channel.size() > kChannelBytesMax) {
      error(fmt::format("ERR a channel's name has at most {} bytes", kChannelBytesMax));
      continue;
    }
    if (std::ranges::find(channels_, channel) == channels_.end()) {
      if (channels_.size() == kChannelsMax) {
        error(fmt::format("ERR a connection listens to at most {} channels", kChannelsMax));
        continue;
      }
      desk_.channels.join(channel, *this);
      channels_.emplace_back(channel);
    }
    push_head(3);
    bulk("subscribe");
    bulk(channel);
    integer(static_cast<std::int64_t>(channels_.size()));
  }
}

void AgentsSession::unsubscribe(Arguments arguments) {
  std::vector<std::string> leaving(arguments.begin() + 1, arguments.end());
  if (leaving.empty()) leaving = channels_;
  for (const std::string& channel : leaving) {
    if (desk_.channels.leave(channel, *this)) std::erase(channels_, channel);
    push_head(3);
    bulk("unsubscribe");
    bulk(channel);
    integer(static_cast<std::int64_t>(channels_.size()));
  }
  if (!leaving.empty()) return;
  push_head(3);
  bulk("unsubscribe");
  null();
  integer(0);
}

}  // namespace defib::ingest
