#include "net/http_connection.h"

#include <algorithm>
#include <deque>
#include <exception>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <string>
#include <vector>

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "net/http_answer.h"

namespace defib::net {

namespace beast_http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;

namespace {

// Small parts of an answer go out in one write.
constexpr std::size_t kJoinBytesMax = 64 * 1024;
// What a client may still send while its connection ends.
constexpr std::size_t kLingerBytesMax = 1024 * 1024;

constexpr HttpFault kUnanswered = {500, "no_answer", "the monitor gave no answer", "try again; its log may say more"};
constexpr HttpFault kBadBody = {400, "bad_body", "the body is not what its head announces", "check the chunks' sizes"};
constexpr HttpFault kBodyTooLarge = {413, "body_too_large", "the body is larger than 1 MiB", "send it in parts"};
constexpr HttpFault kHeadTooLarge = {431, "head_too_large", "the head is larger than 16 KiB", "send fewer headers"};
constexpr HttpFault kBadHead = {400, "bad_head", "the head is not HTTP", "send a plain HTTP/1.1 request"};
constexpr HttpFault kTooSlow = {408, "too_slow", "the request took too long to arrive", "send it in one go"};
constexpr HttpFault kBadTarget = {400, "bad_target", "the target is not /path?query, well percent-encoded",
                                  "send the path alone, and check its % escapes"};
constexpr HttpFault kExpectUnknown = {417, "expect_unknown", "only Expect: 100-continue is known here", "leave it out"};

// One client: reads a request, waits for its answer, writes it, goes on. One thing at a time, so a client that
// pipelines or writes without reading is held back by TCP.
class Connection final : public HttpConnection, public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<HttpShared> shared, tcp::socket socket)
      : shared_(std::move(shared)), socket_(std::move(socket)) {}

  void start() override {
    error_code error;
    socket_.non_blocking(true, error);
    socket_.set_option(tcp::no_delay(true), error);
    const tcp::endpoint peer = socket_.remote_endpoint(error);
    peer_ = peer.address().is_v6() && peer.address().to_v6().is_v4_mapped()
                ? asio::ip::make_address_v4(asio::ip::v4_mapped, peer.address().to_v6()).to_string()
                : peer.address().to_string();
    enter(Phase::head, shared_->limits.head);
    await_bytes();
  }

  bool is_overdue(Instant now) const override { return now >= deadline_; }
  bool is_open() const { return phase_ != Phase::closed; }
  bool is_streaming() const { return phase_ == Phase::streaming; }

  void give_up() override {
    if (phase_ == Phase::body || (phase_ == Phase::head && !in_.empty())) return refuse(kTooSlow);
    close();
  }

  void close() override {
    if (phase_ == Phase::closed) return;
    phase_ = Phase::closed;
    error_code ignored;
    socket_.close(ignored);
    --shared_->counters.connections;
    shared_->connections.erase(shared_from_this());
  }

  // The answer to the request that is being handled.
  void respond(HttpResponse response) {
    if (phase_ != Phase::handling) return;
    const bool has_no_body = response.status == 204 || response.status == 304;
    const std::string length = has_no_body ? "" : fmt::format("Content-Length: {}\r\n", response.body.size());
    const std::string_view connection = !keeps_alive_ ? "Connection: close\r\n"
                                        : is_1_0_     ? "Connection: keep-alive\r\n"
                                                      : "";
    enter(Phase::writing, shared_->limits.write);
    queue(make_answer_head(response, length + std::string(connection)));
    if (!has_no_body && !is_head_request_) queue(std::move(response.body));
    write();
  }

  bool start_stream() {
    if (phase_ != Phase::handling) return false;
    keeps_alive_ = false;
    HttpResponse response{.content_type = "text/event-stream", .headers = {{"X-Accel-Buffering", "no"}}};
    enter(is_head_request_ ? Phase::writing : Phase::streaming, shared_->limits.write);
    queue(make_answer_head(response, "Connection: close\r\n"));
    write();
    // The end of the reader shows as the end of what it sends.
    if (phase_ == Phase::streaming) await_bytes();
    return phase_ == Phase::streaming;
  }

  bool send_stream(std::string bytes) {
    if (phase_ != Phase::streaming) return false;
    if (out_bytes_ + bytes.size() > HttpServer::kStreamBytesMax) {
      close();
      return false;
    }
    if (out_.empty()) deadline_ = read_steady() + shared_->limits.write;
    queue(std::move(bytes));
    write();
    return true;
  }

  // Lets what is queued go out, then ends.
  void end_stream() {
    if (phase_ != Phase::streaming) return;
    phase_ = Phase::writing;
    if (out_.empty()) linger();
  }

 private:
  enum class Phase : std::uint8_t { idle, head, body, handling, writing, streaming, lingering, closed };
  using Parser = beast_http::request_parser<beast_http::string_body>;

  void enter(Phase phase, Duration time) {
    phase_ = phase;
    deadline_ = read_steady() + time;
  }

  void await_bytes() {
    if (std::exchange(is_awaiting_, true)) return;
    socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const error_code& error) {
      self->is_awaiting_ = false;
      if (!self->is_open()) return;
      if (error) return self->close();
      self->on_readable();
    });
  }

  void on_readable() {
    // A request that is being answered is never read past: nobody waits for bytes then.
    const bool keeps_bytes = phase_ == Phase::idle || phase_ == Phase::head || phase_ == Phase::body;
    error_code error;
    const std::size_t size = socket_.read_some(asio::buffer(shared_->scratch), error);
    if (error == asio::error::would_block) return await_bytes();
    if (error) return close();
    if (!keeps_bytes) {
      // A stream's reader or one that is told goodbye has nothing more to say.
      lingered_bytes_ += size;
      if (lingered_bytes_ > kLingerBytesMax) return close();
      if (phase_ == Phase::streaming || phase_ == Phase::lingering) await_bytes();
      return;
    }
    in_.append(shared_->scratch.data(), size);
    if (phase_ == Phase::body) return read_body();
    read_head();
  }

  void read_head() {
    if (in_.empty()) {
      in_ = {};
      enter(Phase::idle, shared_->limits.idle);
      return await_bytes();
    }
    if (phase_ != Phase::head) enter(Phase::head, shared_->limits.head);
    const std::string_view bytes = std::string_view(in_).substr(0, HttpServer::kHeadBytesMax);
    const HeadScan scan = scan_head(bytes, scanned_);
    scanned_ = bytes.size();
    if (scan.fault) return refuse(*scan.fault);
    if (scan.end > 0) return begin_request(scan.end);
    if (in_.size() >= HttpServer::kHeadBytesMax) return refuse(kHeadTooLarge);
    await_bytes();
  }

  void begin_request(std::size_t head_bytes) {
    scanned_ = 0;
    if (const auto fault = check_head(std::string_view(in_).substr(0, head_bytes))) return refuse(*fault);
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(HttpServer::kHeadBytesMax));
    parser_->body_limit(HttpServer::kBodyBytesMax);
    error_code error;
    parser_->put(asio::buffer(in_.data(), head_bytes), error);
    if (error == beast_http::error::body_limit) return refuse(kBodyTooLarge);
    if (error || !parser_->is_header_done()) return refuse(kBadHead);
    in_.erase(0, head_bytes);

    const auto& message = parser_->get();
    auto target = parse_target(std::string_view(message.target().data(), message.target().size()));
    if (!target) return refuse(kBadTarget);
    const auto method = message.method_string();
    request_ = {.method = std::string(method.data(), method.size()),
                .path = std::move(target->path),
                .query = std::move(target->query),
                .peer = peer_};
    // Taken before the body, so that a trailer can't pass for a header.
    for (const auto& field : message) {
      std::string name(field.name_string().data(), field.name_string().size());
      std::transform(name.begin(), name.end(), name.begin(),
                     [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; });
      request_.headers.emplace_back(std::move(name), std::string(field.value().data(), field.value().size()));
    }
    is_head_request_ = request_.method == "HEAD";
    if (is_head_request_) request_.method = "GET";
    keeps_alive_ = message.keep_alive();
    is_1_0_ = message.version() == 10;
    if (!answer_expectation()) return;
    enter(Phase::body, shared_->limits.body);
    parser_->eager(true);
    read_body();
  }

  // False where the request is over.
  bool answer_expectation() {
    const std::string_view expected = request_.header("expect");
    if (expected.empty() || is_1_0_) return true;
    if (!boost::beast::iequals(boost::beast::string_view(expected.data(), expected.size()), "100-continue")) {
      refuse(kExpectUnknown);
      return false;
    }
    if (parser_->is_done() || !in_.empty()) return true;
    constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    error_code error;
    const std::size_t sent = socket_.write_some(asio::buffer(kContinue), error);
    // A client whose buffer is full goes on without it (RFC 9110, 10.1.1); half of it would be garbage.
    if (error == asio::error::would_block || sent == kContinue.size()) return true;
    close();
    return false;
  }

  void read_body() {
    error_code error;
    while (!parser_->is_done() && !in_.empty()) {
      const std::size_t used = parser_->put(asio::buffer(in_), error);
      in_.erase(0, used);
      if (error == beast_http::error::need_more || (!error && used == 0)) break;
      if (error == beast_http::error::body_limit) return refuse(kBodyTooLarge);
      if (error) return refuse(kBadBody);
    }
    if (parser_->is_done()) return handle();
    // What is left over is a piece of a chunk's head or of a trailer.
    if (in_.size() > HttpServer::kHeadBytesMax) return refuse(kBadBody);
    await_bytes();
  }

  void handle();

  // Answers and ends: after such a request nobody knows where the next one begins.
  void refuse(const HttpFault& fault) {
    shared_->count_bad(peer_, fault);
    phase_ = Phase::handling;
    keeps_alive_ = false;
    is_1_0_ = false;
    is_head_request_ = false;
    HttpResponse response = fault_answer(fault);
    if (fault.status == 405) response.headers.emplace_back("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    respond(std::move(response));
  }

  void queue(std::string bytes) {
    if (bytes.empty()) return;
    out_bytes_ += bytes.size();
    // The front may be on its way to the kernel: it stays as it is.
    const std::size_t on_their_way = is_writing_ ? 1 : 0;
    if (out_.size() > on_their_way && out_.back().size() + bytes.size() <= kJoinBytesMax) {
      out_.back() += bytes;
    } else {
      out_.push_back(std::move(bytes));
    }
  }

  void write() {
    if (is_writing_ || out_.empty()) return;
    is_writing_ = true;
    const std::string& front = out_.front();
    socket_.async_write_some(asio::buffer(front.data() + written_, front.size() - written_),
                             [self = shared_from_this()](const error_code& error, std::size_t size) {
                               self->is_writing_ = false;
                               if (!self->is_open()) return;
                               if (error) return self->close();
                               self->on_written(size);
                             });
  }

  void on_written(std::size_t size) {
    written_ += size;
    out_bytes_ -= size;
    if (written_ == out_.front().size()) {
      out_.pop_front();
      written_ = 0;
    }
    deadline_ = read_steady() + shared_->limits.write;
    if (!out_.empty()) return write();
    // A stream with nothing to say may be silent for as long as it likes.
    if (phase_ == Phase::streaming) deadline_ = kNever;
    if (phase_ != Phase::writing) return;
    if (!keeps_alive_) return linger();
    phase_ = Phase::idle;
    read_head();
  }

  // Closing at once would reset the connection under an answer that the client has not read yet.
  void linger() {
    enter(Phase::lingering, shared_->limits.linger);
    in_ = {};
    error_code error;
    socket_.shutdown(tcp::socket::shutdown_send, error);
    if (error) return close();
    await_bytes();
  }

  std::shared_ptr<HttpShared> shared_;
  tcp::socket socket_;
  std::string peer_;
  Phase phase_ = Phase::head;
  Instant deadline_ = kNever;
  std::string in_;           // Received, not yet parsed.
  std::size_t scanned_ = 0;  // Bytes of in_ that scan_head has seen.
  std::optional<Parser> parser_;
  HttpRequest request_;  // Until it is handed to the handler.
  bool is_head_request_ = false;
  bool keeps_alive_ = false;
  bool is_1_0_ = false;
  std::deque<std::string> out_;  // Bounded by one answer, or by kStreamBytesMax.
  std::size_t written_ = 0;      // Of its front.
  std::size_t out_bytes_ = 0;
  bool is_writing_ = false;
  bool is_awaiting_ = false;
  std::size_t lingered_bytes_ = 0;
};

class Stream final : public EventStream {
 public:
  explicit Stream(std::weak_ptr<Connection> connection) : connection_(std::move(connection)) {}
  bool send(std::string bytes) override {
    const auto connection = connection_.lock();
    return connection && connection->send_stream(std::move(bytes));
  }
  bool is_open() const override {
    const auto connection = connection_.lock();
    return connection && connection->is_streaming();
  }
  void close() override {
    if (const auto connection = connection_.lock()) connection->end_stream();
  }

 private:
  std::weak_ptr<Connection> connection_;
};

class Exchange final : public HttpExchange {
 public:
  Exchange(std::weak_ptr<Connection> connection, HttpRequest request)
      : connection_(std::move(connection)), request_(std::move(request)) {}
  ~Exchange() override { respond(fault_answer(kUnanswered)); }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  const HttpRequest& request() const override { return request_; }

  void respond(HttpResponse response) override {
    if (std::exchange(is_answered_, true)) return;
    if (const auto connection = connection_.lock()) connection->respond(std::move(response));
  }

  std::shared_ptr<EventStream> start_event_stream() override {
    // A second answer gets a stream that is closed from its beginning.
    const auto connection = std::exchange(is_answered_, true) ? nullptr : connection_.lock();
    const bool is_started = connection && connection->start_stream();
    return std::make_shared<Stream>(is_started ? connection_ : std::weak_ptr<Connection>());
  }

 private:
  std::weak_ptr<Connection> connection_;
  HttpRequest request_;
  bool is_answered_ = false;
};

void Connection::handle() {
  request_.body = std::move(parser_->get().body());
  parser_.reset();
  enter(Phase::handling, Duration{0});
  deadline_ = kNever;  // How long an answer may take is the handler's business.
  ++shared_->counters.requests;
  const auto exchange = std::make_shared<Exchange>(weak_from_this(), std::exchange(request_, {}));
  try {
    shared_->handler(exchange);
  } catch (const std::exception& error) {
    spdlog::error("http: a handler failed: {}", error.what());
  }
}

}  // namespace

std::shared_ptr<HttpConnection> make_http_connection(std::shared_ptr<HttpShared> shared, tcp::socket socket) {
  return std::make_shared<Connection>(std::move(shared), std::move(socket));
}

}  // namespace defib::net
