// One client of the HTTP server. Private to http_server.cc and http_connection.cc, which alone includes Beast.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <utility>

#include <boost/asio/ip/tcp.hpp>

#include "net/http_head.h"
#include "net/http_server.h"

namespace defib::net {

class HttpConnection {
 public:
  virtual ~HttpConnection() = default;
  virtual void start() = 0;
  virtual bool is_overdue(Instant now) const = 0;
  // Its time is up: whoever began a request hears why, whoever was idle or reads nothing does not.
  virtual void give_up() = 0;
  // Leaves HttpShared::connections; nothing is heard of it any more.
  virtual void close() = 0;
};

// What the connections share with their server. They keep it alive, since one that is closed may still be
// waiting in the loop for its last handler.
struct HttpShared {
  HttpShared(HttpHandler the_handler, HttpLimits the_limits) : handler(std::move(the_handler)), limits(the_limits) {}

  // Counts a request that no handler saw, and logs one now and then.
  void count_bad(std::string_view peer, const HttpFault& fault);

  const HttpHandler handler;
  const HttpLimits limits;
  HttpServerCounters counters;
  std::unordered_set<std::shared_ptr<HttpConnection>> connections;
  // Bytes are read into here and only then kept, so that an idle connection holds no buffer.
  std::array<char, 64 * 1024> scratch{};
  std::optional<Instant> last_log;
};

std::shared_ptr<HttpConnection> make_http_connection(std::shared_ptr<HttpShared> shared,
                                                     boost::asio::ip::tcp::socket socket);

}  // namespace defib::net
