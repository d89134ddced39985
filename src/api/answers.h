// What every answer of the API has in common.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "net/http_server.h"

namespace defib::api {

using Exchange = std::shared_ptr<net::HttpExchange>;

net::HttpResponse json_response(unsigned status, std::string body);

// An error in the contract's shape {error, code, hint}.
net::HttpResponse error_response(unsigned status, std::string_view error, std::string_view code, std::string_view hint);

}  // namespace defib::api
