#include "api/answers.h"

#include <utility>

#include <boost/json.hpp>

#include "wire/json_views.h"

namespace defib::api {

net::HttpResponse json_response(unsigned status, std::string body) {
  return {.status = status, .body = std::move(body), .headers = {}};
}

net::HttpResponse error_response(unsigned status, std::string_view error, std::string_view code,
                                 std::string_view hint) {
  return json_response(status, boost::json::serialize(wire::error_json(error, code, hint)));
}

}  // namespace defib::api
