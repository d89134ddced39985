// HTTP requests going out, on a thread of their own (libcurl multi); answers come back on the loop.
//
// Certificates are checked, redirects are not followed, no proxy but what the environment names
// (http_proxy, https_proxy, NO_PROXY: curl(1)). URLs and headers may hold secrets: they are never logged, and
// an error names scheme and host only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/time.h"
#include "net/loop.h"

namespace defib::net {

struct ClientRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::string unix_socket;  // Not empty: connect there (Docker).
  Duration timeout = 10s;
  std::size_t answer_bytes_max = 256 * 1024;
};

struct ClientAnswer {
  unsigned status = 0;  // 0: no answer came; `error` says why.
  std::string error;
  std::string body;         // Clipped at answer_bytes_max.
  std::string retry_after;  // The header, "" where absent.
};

class HttpClient {
 public:
  // Requests waiting or under way at once; one more is answered with an error at once.
  static constexpr std::size_t kRequestsMax = 1024;

  explicit HttpClient(Loop& loop);
  // Ends the thread within milliseconds; answers that are under way never come, posted ones included.
  ~HttpClient();

  // `done` is called once, on the loop thread, never from within send(). Loop thread only.
  void send(ClientRequest request, std::function<void(ClientAnswer)> done);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace defib::net
