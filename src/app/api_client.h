// The monitor's HTTP API for subcommands: one blocking request at a time (libcurl easy).
//
// Certificates are checked, redirects are not followed, a proxy is not used for loopback. Every error is one
// sentence that says what was wrong and what to do; none shows the token.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <boost/json.hpp>

#include "app/flags.h"
#include "app/sse_reader.h"
#include "base/result.h"
#include "base/time.h"

namespace defib::app {

struct ApiAnswer {
  unsigned status = 0;
  std::string body;
};

class ApiClient {
 public:
  static constexpr std::size_t kAnswerBytesMax = std::size_t{16} << 20;
  static constexpr Duration kTimeout = 30s;
  static constexpr Duration kReconnectAfter = 2s;

  explicit ApiClient(const ServerFlags& flags, Duration reconnect_after = kReconnectAfter);
  ~ApiClient();
  ApiClient(const ApiClient&) = delete;
  ApiClient& operator=(const ApiClient&) = delete;

  // `path` begins with '/' and has its query; ids in it must be encoded (see encode()).
  // Any status but 2xx is an error, in the monitor's own words where it sent some.
  Result<boost::json::value> get(std::string_view path);
  Result<boost::json::value> post(std::string_view path, const boost::json::object& body);
  // For what answers no JSON. A status is not looked at.
  Result<ApiAnswer> send(std::string_view method, std::string_view path, std::string_view content_type,
                         std::string_view body);
  // The error of an answer whose status is not 2xx.
  Error error_of(const ApiAnswer& answer) const;
  // The JSON of a good answer.
  Result<boost::json::value> body_of(const Result<ApiAnswer>& answer) const;

  // Follows a stream of events until `take` answers false, coming back with Last-Event-ID after each break, which
  // `told` hears of in a sentence. An error where the first connection fails or the monitor refuses.
  Done follow(std::string_view path, const std::function<bool(const ApiEvent&)>& take,
              const std::function<void(std::string)>& told);

  // Percent-encoding for one segment or one value of a query.
  static std::string encode(std::string_view text);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
  Duration reconnect_after_;
};

// Reading what came, with a default for what is not there or of another type.
std::string text_of(const boost::json::object& object, std::string_view key);
std::int64_t number_of(const boost::json::object& object, std::string_view key);
const boost::json::array& list_of(const boost::json::object& object, std::string_view key);
const boost::json::object& object_of(const boost::json::value& value);
const boost::json::object& object_of(const boost::json::object& object, std::string_view key);

}  // namespace defib::app
