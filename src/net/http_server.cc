#include "net/http_server.h"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <vector>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/check.h"
#include "net/address.h"
#include "net/http_connection.h"

namespace defib::net {

using boost::system::error_code;
using tcp = asio::ip::tcp;

namespace {

// A request refused before its handler is logged this often at most; the counter has them all.
constexpr Duration kLogEvery = 10s;

std::string_view first_value(const std::vector<std::pair<std::string, std::string>>& pairs, std::string_view name) {
  for (const auto& [key, value] : pairs) {
    if (key == name) return value;
  }
  return {};
}

}  // namespace

std::string_view HttpRequest::header(std::string_view name) const { return first_value(headers, name); }
std::string_view HttpRequest::parameter(std::string_view name) const { return first_value(query, name); }
bool HttpRequest::has_parameter(std::string_view name) const {
  return std::any_of(query.begin(), query.end(), [&](const auto& pair) { return pair.first == name; });
}

void HttpShared::count_bad(std::string_view peer, const HttpFault& fault) {
  ++counters.bad_requests;
  const Instant now = read_steady();
  if (last_log && now - *last_log < kLogEvery) return;
  last_log = now;
  spdlog::warn("http: refused a request of {}: {} ({} refused so far)", peer, fault.error, counters.bad_requests);
}

// Accepts, and once in a while ends the connections whose time is up.
class HttpServer::Impl : public std::enable_shared_from_this<HttpServer::Impl> {
 public:
  Impl(Loop& loop, HttpHandler handler, HttpLimits limits)
      : shared_(std::make_shared<HttpShared>(std::move(handler), limits)),
        acceptor_(loop.context()),
        pause_(loop.context()),
        sweep_(loop.context()) {}

  Result<std::uint16_t> listen(std::string_view address) {
    const auto endpoint = parse_address(address);
    if (!endpoint) return Error{endpoint.error()};
    DEFIB_CHECK(!acceptor_.is_open());
    error_code error;
    acceptor_.open(endpoint.value().protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint.value(), error);
    if (!error) acceptor_.listen(tcp::acceptor::max_listen_connections, error);
    if (!error) acceptor_.non_blocking(true, error);
    if (error) {
      error_code ignored;
      acceptor_.close(ignored);
      const std::string_view advice =
          error == asio::error::address_in_use ? "; stop the program that has it, or choose another port" : "";
      return Error{fmt::format("can't serve HTTP on {}: {}{}", address, error.message(), advice)};
    }
    accept();
    sweep();
    return acceptor_.local_endpoint(error).port();
  }

  void close() {
    error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
    sweep_.cancel();
    const auto connections = shared_->connections;
    for (const auto& connection : connections) connection->close();
  }

  HttpServerCounters counters() const { return shared_->counters; }

 private:
  void accept() {
    acceptor_.async_accept([self = shared_from_this()](const error_code& error, tcp::socket socket) {
      if (!self->acceptor_.is_open()) return;
      if (!error) {
        self->take(std::move(socket));
      } else if (error == asio::error::no_descriptors || error == asio::error::no_buffer_space ||
                 error == asio::error::no_memory || error.value() == ENFILE) {
        // Trying again at once would spin: nothing has been freed yet.
        return self->accept_later();
      }
      self->accept();
    });
  }

  void accept_later() {
    pause_.expires_after(std::chrono::milliseconds(100));
    pause_.async_wait([self = shared_from_this()](const error_code& error) {
      if (!error && self->acceptor_.is_open()) self->accept();
    });
  }

  void take(tcp::socket socket) {
    if (shared_->connections.size() >= kConnectionsMax) {
      ++shared_->counters.refused_connections;
      return;
    }
    const auto connection = make_http_connection(shared_, std::move(socket));
    shared_->connections.insert(connection);
    ++shared_->counters.connections;
    connection->start();
  }

  // A look at all of them once a second costs less than a timer each: a deadline is then one store.
  void sweep() {
    const HttpLimits& limits = shared_->limits;
    const Duration shortest = std::min({limits.head, limits.body, limits.idle, limits.write, limits.linger});
    sweep_.expires_after(std::clamp<Duration>(shortest / 4, 1ms, 1s));
    sweep_.async_wait([self = shared_from_this()](const error_code& error) {
      if (error || !self->acceptor_.is_open()) return;
      self->close_overdue();
      self->sweep();
    });
  }

  void close_overdue() {
    const Instant now = read_steady();
    std::vector<std::shared_ptr<HttpConnection>> overdue;
    for (const auto& connection : shared_->connections) {
      if (connection->is_overdue(now)) overdue.push_back(connection);
    }
    for (const auto& connection : overdue) connection->give_up();
  }

  std::shared_ptr<HttpShared> shared_;
  tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  asio::steady_timer sweep_;
};

HttpServer::HttpServer(Loop& loop, HttpHandler handler, HttpLimits limits)
    : impl_(std::make_shared<Impl>(loop, std::move(handler), limits)) {}
HttpServer::~HttpServer() { impl_->close(); }
Result<std::uint16_t> HttpServer::listen(std::string_view address) { return impl_->listen(address); }
void HttpServer::close() { impl_->close(); }
HttpServerCounters HttpServer::counters() const { return impl_->counters(); }

}  // namespace defib::net
