#include "net/address.h"

#include <charconv>
#include <cstdint>
#include <fmt/format.h>
#include <string>

#include <boost/asio/ip/address.hpp>

#include "base/text.h"

namespace defib::net {

namespace ip = boost::asio::ip;

Result<ip::tcp::endpoint> parse_address(std::string_view text) {
  const auto bad = [&](std::string_view what) {
    return Error{
        fmt::format("\"{}\" is not an address to listen on: {}; write HOST:PORT, like 127.0.0.1:7070 or [::1]:0",
                    clip(text, 80), what)};
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad("the port is missing");
  std::string_view host = text.substr(0, colon);
  const std::string_view port_text = text.substr(colon + 1);
  if (host.empty()) return bad("it does not say which address (127.0.0.1 for this machine, 0.0.0.0 for everyone)");

  std::uint16_t port = 0;
  const char* const port_end = port_text.data() + port_text.size();
  const auto [end, problem] = std::from_chars(port_text.data(), port_end, port);
  if (problem != std::errc() || end != port_end) return bad("the port is not a number from 0 to 65535");

  const bool is_bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (is_bracketed) host = host.substr(1, host.size() - 2);
  if (host == "localhost") host = "127.0.0.1";
  boost::system::error_code error;
  const ip::address address = ip::make_address(std::string(host), error);
  if (error) return bad("the host is not an IP address");
  if (address.is_v6() != is_bracketed) return bad("an IPv6 address, and no other, stands in brackets");
  return ip::tcp::endpoint(address, port);
}

bool is_loopback(const ip::tcp::endpoint& endpoint) {
  const ip::address address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    return ip::make_address_v4(ip::v4_mapped, address.to_v6()).is_loopback();
  }
  return address.is_loopback();
}

}  // namespace defib::net
