// The bytes of an answer's head, and the answer to a request that is refused.
#pragma once

#include <string>
#include <string_view>

#include "net/http_head.h"
#include "net/http_server.h"

namespace defib::net {

// Status line and fields up to and with the empty line; `framing` is whole lines ("Content-Length: 2\r\n") and
// goes last. Every answer gets Date, X-Content-Type-Options, and Cache-Control where it has none of its own. A
// header with a line break in it is left out.
std::string make_answer_head(const HttpResponse& response, std::string_view framing);

// {error, code, hint}
HttpResponse fault_answer(const HttpFault& fault);

}  // namespace defib::net
