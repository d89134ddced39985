// "HOST:PORT" as the flags and the file write it, for everything of ours that listens.
#pragma once

#include <string_view>

#include <boost/asio/ip/tcp.hpp>

#include "base/result.h"

namespace defib::net {

// "127.0.0.1:7070", "[::1]:0", "0.0.0.0:80", "localhost:7070" (127.0.0.1). No names but localhost: looking one up
// would block. ":7070" is refused, since it does not say who may connect.
Result<boost::asio::ip::tcp::endpoint> parse_address(std::string_view text);

// True where only this machine can reach it.
bool is_loopback(const boost::asio::ip::tcp::endpoint& endpoint);

}  // namespace defib::net
