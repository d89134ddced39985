#include "ingest/http_source.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <optional>
#include <spdlog/spdlog.h>
#include <utility>

#include <boost/json.hpp>

#include "base/check.h"
#include "base/ids.h"
#include "base/text.h"
#include "net/http_server.h"
#include "wire/json_views.h"

namespace defib::ingest {
namespace {

namespace json = boost::json;

constexpr std::string_view kHeartbeatsPath = "/v1/heartbeats";
constexpr std::string_view kPingPrefix = "/ping/";
// A refusal is logged once a while: a broken client must not fill the disk.
constexpr Duration kLogEvery = 10s;
constexpr Duration kSweepEvery = 1s;
constexpr Duration kBusyRetryAfter = 1s;
// A ticket is the request's number and the message's index in it.
constexpr std::uint64_t kTicketStep = 1 << 14;
static_assert(HttpSource::kMessagesMax <= kTicketStep);

// What an answer of the core means to an HTTP client.
struct Meaning {
  unsigned status;
  std::string_view error;
  std::string_view code;
  std::string_view hint;
};

Meaning meaning_of(core::Answer answer) {
  switch (answer) {
    case core::Answer::accepted:
      return {200, "", "", ""};
    case core::Answer::refused:
      return {400, "the message is refused", "refused", "the fields are described in protocol/heartbeat.schema.json"};
    case core::Answer::stale:
      return {409, "the sequence is not above the last one heard, or the instance has ended", "stale",
              "count sequence up by one a beat; a new process sends a new instanceId"};
    case core::Answer::fenced:
      return {409, "this instance was replaced", "fenced", "stop it: another instance does its work now"};
    case core::Answer::table_full:
      return {503, "the monitor watches as many agents as it may", "table_full",
              "agents that are gone for good should say goodbye (status: stopped)"};
    case core::Answer::not_known:
      return {404, "Agent not found", "not_found", "an agent is known from its first accepted beat on"};
  }
  return {500, "no such answer", "internal", ""};
}

void respond_error(net::HttpExchange& exchange, const Meaning& meaning) {
  net::HttpResponse response;
  response.status = meaning.status;
  response.body = json::serialize(wire::error_json(meaning.error, meaning.code, meaning.hint));
  exchange.respond(std::move(response));
}

void respond_busy(net::HttpExchange& exchange) {
  net::HttpResponse response;
  response.status = 503;
  response.headers = {{"Retry-After", std::to_string(kBusyRetryAfter / Duration(1s))}};
  response.body = json::serialize(
      wire::error_json("the monitor is busy", "busy", "send it again a second later; nothing of it was read"));
  exchange.respond(std::move(response));
}

void respond_wrong_method(net::HttpExchange& exchange, std::string_view allowed) {
  net::HttpResponse response;
  response.status = 405;
  response.headers = {{"Allow", std::string(allowed)}};
  response.body = json::serialize(
      wire::error_json("the method does not fit the path", "method_not_allowed", fmt::format("use {}", allowed)));
  exchange.respond(std::move(response));
}

void respond_ok(net::HttpExchange& exchange) {
  net::HttpResponse response;
  response.content_type = "text/plain; charset=utf-8";
  response.body = "OK";
  exchange.respond(std::move(response));
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

// Takes the next line that is not blank off `rest`, trimmed; "" at the end.
std::string_view next_line(std::string_view& rest) {
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = trim(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!line.empty()) return line;
  }
  return {};
}

std::string_view last_line(std::string_view text) {
  text = trim(text);
  const std::size_t newline = text.rfind('\n');
  return newline == std::string_view::npos ? text : trim(text.substr(newline + 1));
}

std::size_t count_lines(std::string_view text) {
  std::size_t count = 0;
  while (!next_line(text).empty()) ++count;
  return count;
}

// `}` and, on the next line, `{` can't stand in one JSON text: such a body holds a message a line, whatever
// its type says.
bool has_objects_by_line(std::string_view body) {
  const std::string_view first = next_line(body);
  return first.starts_with('{') && first.ends_with('}') && next_line(body).starts_with('{');
}

// "application/json" of "Application/JSON; charset=utf-8".
std::string media_type(std::string_view header) {
  std::string type(trim(header.substr(0, header.find(';'))));
  std::transform(type.begin(), type.end(), type.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return type;
}

// One line for people: control characters would break tables and logs.
std::string one_line(std::string_view text) {
  std::string out(clip(text, core::kTaskBytesMax));
  std::replace_if(
      out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return out;
}

enum class PingKind { success, start, failure, log };

// The part of /ping/{id}/... behind the id.
struct PingPath {
  std::string_view id;
  std::optional<PingKind> kind;  // Absent: there is no such path.
  int exit_code = 0;
};

PingPath parse_ping_path(std::string_view path) {
  path.remove_prefix(kPingPrefix.size());
  const std::size_t slash = path.find('/');
  PingPath out{.id = path.substr(0, slash), .kind = PingKind::success};
  if (slash == std::string_view::npos) return out;
  const std::string_view what = path.substr(slash + 1);
  out.kind.reset();
  if (what == "start") out.kind = PingKind::start;
  if (what == "fail") out.kind = PingKind::failure;
  if (what == "log") out.kind = PingKind::log;
  unsigned code = 0;
  const auto [end, error] = std::from_chars(what.data(), what.data() + what.size(), code);
  const bool is_code = error == std::errc() && end == what.data() + what.size() && what.size() <= 3 && code <= 255 &&
                       (what.size() == 1 || what.front() != '0');
  if (is_code) {
    out.kind = code == 0 ? PingKind::success : PingKind::failure;
    out.exit_code = static_cast<int>(code);
  }
  return out;
}

}  // namespace

// ---- Commands that wait -----------------------------------------------------------------------------

void CommandBox::saw(std::string_view agent_id) {
  if (newer_.contains(agent_id)) return;
  if (newer_.size() >= kCollectorsMax) {
    older_ = std::move(newer_);
    newer_.clear();
  }
  newer_.emplace(agent_id);
}

bool CommandBox::put(Instant now, const core::SendCommand& command) {
  if (!newer_.contains(command.agent_id) && !older_.contains(command.agent_id)) return false;
  if (count_ >= kCommandsMax) drop_expired(now);
  if (count_ >= kCommandsMax) return false;
  std::vector<Waiting>& place = waiting_[command.agent_id];
  count_ -= std::erase_if(place, [&](const Waiting& waiting) { return waiting.expires <= now; });
  if (place.size() >= kCommandsPerAgentMax) return false;
  place.push_back({now + command.expires_in, command});
  ++count_;
  return true;
}

std::vector<core::SendCommand> CommandBox::collect(Instant now, std::string_view agent_id, std::string_view instance_id,
                                                   bool is_fenced) {
  const auto place = waiting_.find(agent_id);
  if (place == waiting_.end()) return {};
  std::vector<core::SendCommand> out;
  const auto is_over = [&](Waiting& waiting) {
    core::SendCommand& command = waiting.command;
    if (waiting.expires <= now) return true;
    const bool is_for_sender =
        command.instance_id.empty() ? (command.command == "fence") == is_fenced : command.instance_id == instance_id;
    if (!is_for_sender) return false;
    command.expires_in = waiting.expires - now;
    out.push_back(std::move(command));
    return true;
  };
  count_ -= std::erase_if(place->second, is_over);
  if (place->second.empty()) waiting_.erase(place);
  return out;
}

// Looks at every place, so once in a while at most: a full box must not cost a sweep a command.
void CommandBox::drop_expired(Instant now) {
  if (now < may_sweep_at_) return;
  may_sweep_at_ = now + kSweepEvery;
  for (auto place = waiting_.begin(); place != waiting_.end();) {
    count_ -= std::erase_if(place->second, [&](const Waiting& waiting) { return waiting.expires <= now; });
    place = place->second.empty() ? waiting_.erase(place) : std::next(place);
  }
}

// ---- Requests ---------------------------------------------------------------------------------------

// A POST /v1/heartbeats under way. Its text is the exchange's own body; what was understood of a message lives
// in the inbox's arena and is looked at no later than in that message's on_answer().
struct HttpSource::Batch {
  struct Sender {
    std::string_view agent_id;
    std::string_view instance_id;
    std::string_view refusal;
  };
  struct Refused {
    std::size_t index;
    std::string error;
    Meaning meaning;
  };

  std::shared_ptr<net::HttpExchange> exchange;
  bool is_by_line = false;
  std::string_view rest;        // Not read yet.
  std::vector<Sender> senders;  // By index.
  std::size_t unanswered = 0;
  std::size_t accepted = 0;
  std::vector<Refused> refused;
  json::array commands;

  bool is_finished() const { return rest.empty() && unanswered == 0; }
};

HttpSource::HttpSource(Inbox& inbox, BeatCodec& codec, OnLog on_log)
    : inbox_(inbox), codec_(codec), on_log_(std::move(on_log)) {}
HttpSource::~HttpSource() = default;

bool HttpSource::handles(const net::HttpRequest& request) {
  return request.path == kHeartbeatsPath || request.path.starts_with(kPingPrefix);
}

void HttpSource::handle(Instant now, std::shared_ptr<net::HttpExchange> exchange) {
  now_ = now;
  if (exchange->request().path == kHeartbeatsPath) {
    handle_heartbeats(std::move(exchange));
  } else {
    handle_ping(std::move(exchange));
  }
}

bool HttpSource::resume(Instant now) {
  now_ = now;
  while (!waiting_.empty() && !inbox_.is_full()) {
    const std::uint64_t number = waiting_.front();
    Batch& batch = *batches_.at(number);
    feed(number, batch);
    if (!batch.rest.empty()) break;
    waiting_.erase(waiting_.begin());
    if (!batch.is_finished()) continue;
    finish(batch);
    batches_.erase(number);
  }
  return !waiting_.empty();
}

void HttpSource::on_answer(std::uint64_t ticket, core::Answer answer) {
  const std::uint64_t number = ticket / kTicketStep;
  if (const auto ping = pings_.find(number); ping != pings_.end()) {
    answer_ping(ping->second, answer);
    pings_.erase(ping);
    return;
  }
  const auto found = batches_.find(number);
  DEFIB_CHECK(found != batches_.end());
  Batch& batch = *found->second;
  answer_message(batch, ticket % kTicketStep, answer);
  if (!batch.is_finished()) return;
  finish(batch);
  batches_.erase(found);
}

// ---- POST /v1/heartbeats ------------------------------------------------------------------------------

void HttpSource::handle_heartbeats(std::shared_ptr<net::HttpExchange> exchange) {
  const net::HttpRequest& request = exchange->request();
  if (request.method != "POST") return respond_wrong_method(*exchange, "POST");
  const std::string type = media_type(request.header("content-type"));
  if (type != "application/json" && type != "application/x-ndjson") {
    return respond_error(*exchange, {415, "the Content-Type is not one of ours", "unsupported_media_type",
                                     "send application/json, or application/x-ndjson with one message a line"});
  }
  const std::string_view body = trim(request.body);
  if (body.empty()) {
    return respond_error(*exchange,
                         {400, "the body is empty", "empty_body", "send a heartbeat, at least {\"agentId\": \"...\"}"});
  }
  const bool is_by_line = type == "application/x-ndjson" || has_objects_by_line(body);
  const std::size_t messages = is_by_line ? count_lines(body) : 1;
  if (messages > kMessagesMax) {
    return respond_error(*exchange, {413, "the request holds too many messages", "too_many_messages",
                                     "send at most 10000 messages a request"});
  }
  if (inbox_.is_full() || (messages > 1 && waiting_.size() >= kRequestsWaitingMax)) {
    ++counters_.busy;
    return respond_busy(*exchange);
  }
  const std::uint64_t number = next_number_++;
  auto made = std::make_unique<Batch>();
  Batch& batch = *made;
  batch.exchange = std::move(exchange);
  batch.is_by_line = is_by_line;
  batch.rest = body;
  batch.senders.reserve(messages);
  feed(number, batch);
  if (batch.is_finished()) return finish(batch);
  if (!batch.rest.empty()) waiting_.push_back(number);
  batches_.emplace(number, std::move(made));
}

// Reads as many messages as the inbox has room for.
void HttpSource::feed(std::uint64_t number, Batch& batch) {
  while (!batch.rest.empty() && !inbox_.is_full()) {
    const std::string_view message = batch.is_by_line ? next_line(batch.rest) : std::exchange(batch.rest, {});
    if (!message.empty()) feed_message(number, batch, message);
  }
}

void HttpSource::feed_message(std::uint64_t number, Batch& batch, std::string_view message) {
  ++counters_.messages;
  const std::size_t index = batch.senders.size();
  Result<core::Beat> beat = codec_.decode(message, inbox_.arena());
  if (!beat) {
    batch.senders.push_back({});
    Meaning meaning = meaning_of(core::Answer::refused);
    meaning.code = "bad_message";
    note_refusal(batch.exchange->request(), beat.error());
    batch.refused.push_back({index, beat.error(), meaning});
    return;
  }
  batch.senders.push_back({beat.value().agent_id, beat.value().instance_id, beat.value().refusal});
  ++batch.unanswered;
  inbox_.push(core::BeatReceived{core::Source::http, std::move(beat).value()}, this, number * kTicketStep + index);
}

void HttpSource::answer_message(Batch& batch, std::size_t index, core::Answer answer) {
  const Batch::Sender& sender = batch.senders.at(index);
  DEFIB_CHECK(batch.unanswered > 0);
  --batch.unanswered;
  if (answer == core::Answer::accepted) {
    ++batch.accepted;
    commands_.saw(sender.agent_id);
  } else {
    // Where the message itself is at fault, that is what its sender must know, also if nobody knows the agent.
    const Meaning meaning = meaning_of(sender.refusal.empty() ? answer : core::Answer::refused);
    std::string error(sender.refusal.empty() ? meaning.error : sender.refusal);
    note_refusal(batch.exchange->request(), error);
    batch.refused.push_back({index, std::move(error), meaning});
  }
  // A stale message may be an old one played again: it collects nothing.
  const bool is_fenced = answer == core::Answer::fenced;
  if (answer != core::Answer::accepted && answer != core::Answer::refused && !is_fenced) return;
  for (const core::SendCommand& command : commands_.collect(now_, sender.agent_id, sender.instance_id, is_fenced)) {
    batch.commands.push_back(wire::command_json(command));
  }
}

void HttpSource::finish(const Batch& batch) {
  std::vector<const Batch::Refused*> refused;
  for (const Batch::Refused& one : batch.refused) refused.push_back(&one);
  std::sort(refused.begin(), refused.end(), [](const auto* a, const auto* b) { return a->index < b->index; });
  json::array refused_json;
  for (const Batch::Refused* one : refused) {
    refused_json.push_back({{"index", one->index}, {"error", one->error}, {"code", one->meaning.code}});
  }
  json::object body{{"accepted", batch.accepted}};
  body["refused"] = std::move(refused_json);
  body["commands"] = batch.commands;
  net::HttpResponse response;
  if (batch.accepted == 0) {
    // The contract's status, whatever the reasons; `code` tells them apart.
    const Batch::Refused& first = *refused.front();
    response.status = 400;
    body["error"] = refused.size() == 1 ? first.error
                                        : fmt::format("all {} messages are refused; message {}: {}", refused.size(),
                                                      first.index, first.error);
    body["code"] = refused.size() == 1 ? first.meaning.code : "all_refused";
    body["hint"] = first.meaning.hint;
  }
  response.body = json::serialize(body);
  batch.exchange->respond(std::move(response));
}

// ---- /ping/{id} -----------------------------------------------------------------------------------------

void HttpSource::handle_ping(std::shared_ptr<net::HttpExchange> exchange) {
  const net::HttpRequest& request = exchange->request();
  if (request.method != "GET" && request.method != "POST" && request.method != "HEAD") {
    return respond_wrong_method(*exchange, "GET, POST, HEAD");
  }
  const PingPath path = parse_ping_path(request.path);
  if (!is_valid_agent_id(path.id)) {
    ++counters_.refused;
    return respond_error(*exchange, {400, kAgentIdRule, "bad_agent_id", "GET /ping/{agentId}"});
  }
  if (!path.kind) {
    return respond_error(*exchange, {404, "there is no such ping", "not_found",
                                     "after /ping/{agentId}: nothing, /start, /fail, /log or an exit code 0 to 255"});
  }
  if (inbox_.is_full()) {
    ++counters_.busy;
    return respond_busy(*exchange);
  }
  ++counters_.pings;
  if (path.kind == PingKind::failure) {
    std::string detail = path.exit_code == 0 ? "" : fmt::format("exit code {}", path.exit_code);
    const std::string line = one_line(last_line(request.body));
    if (!line.empty()) detail += detail.empty() ? line : ": " + line;
    return push_ping({std::move(exchange), {}},
                     core::FailureReported{core::Source::http, inbox_.keep(path.id), inbox_.keep(detail)});
  }
  if (path.kind == PingKind::log || !request.body.empty()) on_log_(path.id, clip(request.body, kLogBytesMax));
  if (path.kind == PingKind::log) return respond_ok(*exchange);
  core::Beat beat = ping_beat(request, path.id);
  if (path.kind == PingKind::start) {
    const std::string_view task = clip(request.parameter("task"), core::kTaskBytesMax);
    beat.current_task = task.empty() ? "run" : inbox_.keep(task);
    beat.activity = core::Beat::Activity{};  // Working, until the ping that ends the run.
  }
  push_ping({std::move(exchange), beat.refusal}, core::BeatReceived{core::Source::http, beat});
}

core::Beat HttpSource::ping_beat(const net::HttpRequest& request, std::string_view id) {
  core::Beat beat;
  beat.agent_id = inbox_.keep(id);
  const std::string_view type = request.parameter("type");
  if (type.size() > kTypeBytesMax || one_line(type) != type) {
    beat.refusal = "type is too long or unprintable; expected at most 128 bytes of text";
  } else {
    beat.agent_type = inbox_.keep(type);
  }
  if (!request.has_parameter("interval")) return beat;
  const Result<Duration> interval = parse_duration(request.parameter("interval"));
  if (interval && interval.value() >= core::kIntervalMin && interval.value() <= core::kIntervalMax) {
    beat.interval_ms = to_ms(interval.value());
  } else {
    ++counters_.interval_ignored;
  }
  return beat;
}

void HttpSource::push_ping(Ping ping, core::Event event) {
  const std::uint64_t number = next_number_++;
  pings_.emplace(number, std::move(ping));
  inbox_.push(std::move(event), this, number * kTicketStep);
}

void HttpSource::answer_ping(const Ping& ping, core::Answer answer) {
  if (answer == core::Answer::accepted) return respond_ok(*ping.exchange);
  Meaning meaning = meaning_of(ping.refusal.empty() ? answer : core::Answer::refused);
  if (!ping.refusal.empty()) meaning.error = ping.refusal;
  note_refusal(ping.exchange->request(), meaning.error);
  respond_error(*ping.exchange, meaning);
}

void HttpSource::note_refusal(const net::HttpRequest& request, std::string_view reason) {
  ++counters_.refused;
  ++refused_unlogged_;
  if (now_ < may_log_at_) return;
  spdlog::warn("http: refused {} of {}: {} ({} since the last such line)", request.path, request.peer, reason,
               refused_unlogged_);
  may_log_at_ = now_ + kLogEvery;
  refused_unlogged_ = 0;
}

}  // namespace defib::ingest
