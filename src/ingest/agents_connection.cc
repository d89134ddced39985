// The commands about the connection itself: greeting, token, transaction, and what client libraries ask.
#include <algorithm>
#include <fmt/format.h>
#include <string>
#include <utility>

#include "base/text.h"
#include "ingest/agents_session.h"

namespace defib::ingest {
namespace {

// What clients are told they speak to: they switch features on by it.
constexpr std::string_view kRedisVersion = "7.0.0";
constexpr std::size_t kClientNameBytesMax = 128;
constexpr std::int64_t kDatabasesMax = 16;
// Arguments of a queued command cost this beside their text.
constexpr std::size_t kArgumentOverheadBytes = 32;

constexpr std::string_view kWrongToken = "WRONGPASS invalid username-password pair or user is disabled.";

bool is_word(std::string_view text, std::string_view upper_case) {
  return std::ranges::equal(text, upper_case, [](char a, char b) {
    return (a >= 'a' && a <= 'z' ? static_cast<char>(a - 'a' + 'A') : a) == b;
  });
}

// Takes as long for a wrong token as for the right one.
bool is_equal_in_constant_time(std::string_view guess, std::string_view secret) {
  std::size_t difference = guess.size() ^ secret.size();
  for (std::size_t i = 0; i < guess.size(); ++i) {
    difference |= static_cast<std::size_t>(guess[i] ^ secret[i % secret.size()]);
  }
  return difference == 0;
}

// As Redis: names show up in lists parted by spaces.
bool is_valid_client_name(std::string_view name) {
  return name.size() <= kClientNameBytesMax && std::ranges::all_of(name, [](char c) { return c >= '!' && c <= '~'; });
}

constexpr std::string_view kBadClientName =
    "ERR Client names cannot contain spaces, newlines or special characters, and have at most 128 bytes.";

}  // namespace

// ---- Greeting and token --------------------------------------------------------------------------------

bool AgentsSession::check_token(std::string_view shown) {
  return desk_.token.empty() || is_equal_in_constant_time(shown, desk_.token);
}

// HELLO [2|3 [AUTH user password] [SETNAME name]]
void AgentsSession::hello(Arguments arguments) {
  int protocol = protocol_;
  bool is_admitted = is_admitted_;
  std::string name = client_name_;
  if (arguments.size() > 1) {
    if (arguments[1] != "2" && arguments[1] != "3") return error("NOPROTO unsupported protocol version");
    protocol = arguments[1] == "2" ? 2 : 3;
  }
  for (std::size_t i = 2; i < arguments.size();) {
    const std::size_t left = arguments.size() - i;
    if (is_word(arguments[i], "AUTH") && left >= 3) {
      if (!check_token(arguments[i + 2])) return error(kWrongToken);
      is_admitted = true;
      i += 3;
    } else if (is_word(arguments[i], "SETNAME") && left >= 2) {
      if (!is_valid_client_name(arguments[i + 1])) return error(kBadClientName);
      name = arguments[i + 1];
      i += 2;
    } else {
      return error("ERR Syntax error in HELLO");
    }
  }
  if (!is_admitted) {
    return error(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> "
        "<pass> option can be used to authenticate the client and select the RESP protocol version at the same time");
  }
  protocol_ = protocol;
  is_admitted_ = is_admitted;
  client_name_ = std::move(name);
  map_head(7);
  bulk("server");
  bulk("redis");
  bulk("version");
  bulk(kRedisVersion);
  bulk("proto");
  integer(protocol_);
  bulk("id");
  integer(static_cast<std::int64_t>(connection_));
  bulk("mode");
  bulk("standalone");
  bulk("role");
  bulk("master");
  bulk("modules");
  wire::append_head(output_, '*', 0);
}

// AUTH token, or AUTH user token: any user name will do.
void AgentsSession::auth(Arguments arguments) {
  if (desk_.token.empty() && arguments.size() == 2) {
    return error(
        "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
        "configuration is correct?");
  }
  if (!check_token(arguments.back())) return error(kWrongToken);
  is_admitted_ = true;
  ok();
}

void AgentsSession::quit(Arguments) {
  ok();
  is_ending_ = true;
}

void AgentsSession::reset(Arguments) {
  leave_transaction();
  end();
  protocol_ = 2;
  client_name_.clear();
  is_admitted_ = desk_.token.empty();
  wire::append_simple(output_, "RESET");
}

// ---- What clients ask ------------------------------------------------------------------------------------

void AgentsSession::ping(Arguments arguments) {
  const std::string_view message = arguments.size() > 1 ? arguments[1] : std::string_view();
  if (protocol_ == 2 && !channels_.empty()) {
    wire::append_head(output_, '*', 2);
    bulk("pong");
    return bulk(message);
  }
  if (arguments.size() > 1) return bulk(message);
  wire::append_simple(output_, "PONG");
}

void AgentsSession::echo(Arguments arguments) { bulk(arguments[1]); }

// All databases are the same one.
void AgentsSession::select(Arguments arguments) {
  const auto index = wire::parse_integer(arguments[1]);
  if (!index || *index < 0 || *index >= kDatabasesMax) return error("ERR DB index is out of range");
  ok();
}

void AgentsSession::client(Arguments arguments) {
  const std::string_view what = arguments[1];
  if (is_word(what, "ID")) return integer(static_cast<std::int64_t>(connection_));
  if (is_word(what, "GETNAME")) return client_name_.empty() ? null() : bulk(client_name_);
  if (is_word(what, "SETNAME") && arguments.size() == 3) {
    if (!is_valid_client_name(arguments[2])) return error(kBadClientName);
    client_name_ = arguments[2];
    return ok();
  }
  if (is_word(what, "INFO") || is_word(what, "LIST")) {
    return bulk(fmt::format("id={} name={} sub={} multi={} resp={}\n", connection_, client_name_, channels_.size(),
                            is_queuing_ ? static_cast<int>(queued_.size()) : -1, protocol_));
  }
  // Who asks for silence counts on it, and would read our answers as those to later commands.
  if (is_word(what, "REPLY") && !(arguments.size() == 3 && is_word(arguments[2], "ON"))) {
    return error("ERR CLIENT REPLY OFF and SKIP are not served");
  }
  ok();
}

// Interactive clients ask for help texts and are content with none.
void AgentsSession::command(Arguments arguments) {
  if (arguments.size() > 1 && is_word(arguments[1], "COUNT"))
    return integer(static_cast<std::int64_t>(command_count()));
  if (arguments.size() > 1 && is_word(arguments[1], "DOCS")) return map_head(0);
  wire::append_head(output_, '*', 0);
}

void AgentsSession::config(Arguments arguments) {
  if (!is_word(arguments[1], "GET")) return error("ERR only CONFIG GET is served, and it finds nothing");
  map_head(0);
}

void AgentsSession::info(Arguments) {
  bulk(
      fmt::format("# Server\r\nredis_version:{}\r\nredis_mode:standalone\r\ndefib_version:{}\r\nrun_id:{}\r\n"
                  "# Clients\r\nconnected_clients:{}\r\n# Persistence\r\nloading:0\r\n"
                  "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n",
                  kRedisVersion, DEFIB_VERSION, desk_.run_id, desk_.sessions));
}

// ---- Transactions ----------------------------------------------------------------------------------------

void AgentsSession::multi(Arguments) {
  if (is_queuing_) return error("ERR MULTI calls can not be nested");
  is_queuing_ = true;
  ok();
}

void AgentsSession::enqueue(Arguments arguments) {
  std::size_t bytes = 0;
  for (const std::string_view argument : arguments) bytes += argument.size() + kArgumentOverheadBytes;
  if (queued_.size() == kQueuedMax || queued_bytes_ + bytes > kQueuedBytesMax) {
    is_broken_ = true;
    return error(fmt::format("ERR a transaction has at most {} commands and {} bytes", kQueuedMax, kQueuedBytesMax));
  }
  queued_.emplace_back(arguments.begin(), arguments.end());
  queued_bytes_ += bytes;
  wire::append_simple(output_, "QUEUED");
}

void AgentsSession::exec(Arguments) {
  if (!is_queuing_) return error("ERR EXEC without MULTI");
  const bool is_broken = is_broken_;
  const auto queued = std::exchange(queued_, {});
  leave_transaction();
  if (is_broken) return error("EXECABORT Transaction discarded because of previous errors.");
  wire::append_head(output_, '*', queued.size());
  for (const auto& words : queued) {
    if (output_.size() > kOutputBytesMax) return;  // Overrun: the connection closes.
    const std::vector<std::string_view> arguments(words.begin(), words.end());
    run_handler(arguments);
  }
}

void AgentsSession::discard(Arguments) {
  if (!is_queuing_) return error("ERR DISCARD without MULTI");
  leave_transaction();
  ok();
}

void AgentsSession::leave_transaction() {
  queued_.clear();
  queued_.shrink_to_fit();
  queued_bytes_ = 0;
  is_queuing_ = false;
  is_broken_ = false;
}

}  // namespace defib::ingest
