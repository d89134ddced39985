// An HTTP/1.1 server on the loop thread (Boost.Beast), plain enough for everything that defib serves:
// a request with its whole, bounded body, one response, or a stream of server-sent events.
//
// Bounds: 16 KiB of head, 1 MiB of body, kConnectionsMax connections, a time limit on head, body and
// idling, so that slow writers and half-open connections cost a bounded amount. Smuggling shapes
// (both Content-Length and Transfer-Encoding, repeated Content-Length or Host, obsolete folding) get 400 and a close.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "net/loop.h"

namespace defib::net {

// (*) The answer to a HEAD is the one to a GET with its body left out, so no handler needs to know.
struct HttpRequest {
  std::string method;                                        // "GET", "POST", ...; a HEAD is told as "GET" (*).
  std::string path;                                          // Percent-decoded, without query; begins with '/'.
  std::vector<std::pair<std::string, std::string>> query;    // Decoded, in order.
  std::vector<std::pair<std::string, std::string>> headers;  // Names in lower case.
  std::string body;
  std::string peer;  // Address without port.

  // The first value of a header (name in lower case) or query parameter, "" where absent.
  std::string_view header(std::string_view name) const;
  std::string_view parameter(std::string_view name) const;
  bool has_parameter(std::string_view name) const;
};

struct HttpResponse {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

// A response that goes on: server-sent events. Owned by the exchange's connection; dropped when it closes.
class EventStream {
 public:
  virtual ~EventStream() = default;
  // Queues bytes; false where the reader is gone or so slow that its bounded queue (1 MiB) is full, in
  // which case the stream is closed: the client resumes by Last-Event-ID.
  virtual bool send(std::string bytes) = 0;
  virtual bool is_open() const = 0;
  virtual void close() = 0;
};

// One request and its one answer, which may come in a later turn. Answering after the connection has
// gone, or a second time, does nothing; dropping it without an answer answers 500. Loop thread only.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  virtual const HttpRequest& request() const = 0;
  virtual void respond(HttpResponse response) = 0;
  virtual std::shared_ptr<EventStream> start_event_stream() = 0;
};

// Called on the loop thread, once a request; never again once the server is closed.
using HttpHandler = std::function<void(std::shared_ptr<HttpExchange>)>;

struct HttpServerCounters {
  std::uint64_t requests = 0;
  std::uint64_t bad_requests = 0;  // Refused before a handler saw them.
  std::uint64_t refused_connections = 0;
  std::uint64_t connections = 0;  // Open now.
};

// How long each part of an exchange may take.
struct HttpLimits {
  Duration head = 10s;  // From the connection's or the request's first byte to the end of its head.
  Duration body = 30s;
  Duration idle = 75s;   // Between two requests: nginx's, longer than clients keep connections.
  Duration write = 30s;  // Without one byte leaving: the reader has stopped.
  Duration linger = 2s;  // After the last answer, for the client to have read it (RFC 9112, 9.6).
};

class HttpServer {
 public:
  static constexpr std::size_t kConnectionsMax = 10'000;
  static constexpr std::size_t kHeadBytesMax = 16 * 1024;
  static constexpr std::size_t kBodyBytesMax = 1024 * 1024;

  static constexpr std::size_t kStreamBytesMax = 1024 * 1024;

  HttpServer(Loop& loop, HttpHandler handler, HttpLimits limits = {});
  ~HttpServer();

  // "127.0.0.1:7070", "[::1]:0", ":7070" is refused: say which address. Port 0 takes a free one.
  // Returns the bound port, or what to do where the address is taken.
  Result<std::uint16_t> listen(std::string_view address);
  // Stops accepting and closes all connections.
  void close();
  HttpServerCounters counters() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace defib::net
