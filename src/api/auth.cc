#include "api/auth.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <openssl/crypto.h>
#include <utility>

#include "api/answers.h"

namespace defib::api {
namespace {

constexpr std::array<std::string_view, 5> kNeedNoToken = {"/healthz", "/", "/page.js", "/page.css", "/favicon.svg"};

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

struct Authority {
  std::string host;  // Lower case; IPv6 in its brackets.
  std::string port;  // "" where absent.
};

bool is_port(std::string_view text) {
  return !text.empty() && text.size() <= 5 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

// "host", "host:port", "[v6]", "[v6]:port"; nullopt for anything else.
std::optional<Authority> parse_authority(std::string_view text) {
  Authority out;
  std::size_t host_end = 0;
  if (text.starts_with('[')) {
    const std::size_t bracket = text.find(']');
    if (bracket == std::string_view::npos) return std::nullopt;
    host_end = bracket + 1;
  } else {
    host_end = std::min(text.find(':'), text.size());
  }
  out.host = lower(text.substr(0, host_end));
  if (out.host.empty()) return std::nullopt;
  const std::string_view rest = text.substr(host_end);
  if (rest.empty()) return out;
  if (!rest.starts_with(':') || !is_port(rest.substr(1))) return std::nullopt;
  out.port = rest.substr(1);
  return out;
}

// Four numbers up to 255, without leading zeros: nothing that some resolver could take for a name.
bool is_ipv4(std::string_view host) {
  for (int part = 0; part < 4; ++part) {
    const std::size_t dot = part < 3 ? host.find('.') : host.size();
    if (dot == std::string_view::npos || dot == 0 || dot > 3 || (dot > 1 && host.front() == '0')) return false;
    unsigned value = 0;
    const auto [end, code] = std::from_chars(host.data(), host.data() + dot, value);
    if (code != std::errc() || end != host.data() + dot || value > 255) return false;
    host.remove_prefix(std::min(dot + 1, host.size()));
  }
  return host.empty();
}

bool is_loopback(std::string_view host) {
  return host == "localhost" || host == "[::1]" || (host.starts_with("127.") && is_ipv4(host));
}

// The scheme's own port may be left out: "http://box" comes from box:80.
std::string_view port_or(std::string_view port, std::string_view scheme_port) {
  return port.empty() ? scheme_port : port;
}

// The page must come from the very authority that the request was sent to. https: a proxy in front of us.
bool is_same_origin(std::string_view origin, const Authority& host) {
  std::string_view scheme_port;
  if (origin.starts_with("http://")) {
    origin.remove_prefix(7);
    scheme_port = "80";
  } else if (origin.starts_with("https://")) {
    origin.remove_prefix(8);
    scheme_port = "443";
  } else {
    return false;  // "null" among others: sandboxed frames and files.
  }
  const auto from = parse_authority(origin);
  return from && from->host == host.host && port_or(from->port, scheme_port) == port_or(host.port, scheme_port);
}

// A link or an image on a foreign page carries no Origin, but browsers say in this header where it stands.
bool is_from_foreign_page(const net::HttpRequest& request) {
  const std::string_view site = request.header("sec-fetch-site");
  return site == "cross-site" || site == "same-site";
}

net::HttpResponse unauthorized(std::string_view error, std::string_view code) {
  net::HttpResponse response =
      error_response(401, error, code, "send the monitor's token as 'Authorization: Bearer TOKEN' (DEFIB_TOKEN)");
  response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

}  // namespace

Auth::Auth(AuthOptions options) : options_(std::move(options)) {
  if (const auto listen = parse_authority(options_.listen)) listen_host_ = listen->host;
  listens_anywhere_ = listen_host_ == "0.0.0.0" || listen_host_ == "[::]";
  for (std::string& host : options_.hosts) host = lower(host);
}

std::optional<net::HttpResponse> Auth::refusal(const net::HttpRequest& request) const {
  const std::string_view host = request.header("host");
  if (!is_our_host(host)) {
    return error_response(403, "The Host header names another host", "foreign_host",
                          "call the monitor by localhost, by the address that it listens on, or by a configured name");
  }
  const std::string_view origin = request.header("origin");
  const bool is_foreign_origin = !origin.empty() && !is_same_origin(origin, *parse_authority(host));
  if (is_foreign_origin || (is_acting(request) && is_from_foreign_page(request))) {
    return error_response(403, "A page of another origin may not ask", "foreign_origin",
                          "open the monitor's own page, or ask from a program");
  }
  if (options_.token.empty()) return std::nullopt;
  if (std::find(kNeedNoToken.begin(), kNeedNoToken.end(), request.path) != kNeedNoToken.end()) return std::nullopt;
  const std::string_view authorization = request.header("authorization");
  if (authorization.empty()) return unauthorized("This monitor asks for a token", "no_token");
  if (!is_right_token(authorization)) return unauthorized("The token is not the monitor's", "bad_token");
  return std::nullopt;
}

bool Auth::is_our_host(std::string_view authority) const {
  const auto parsed = parse_authority(authority);
  if (!parsed) return false;
  const std::string& host = parsed->host;
  if (is_loopback(host) || host == listen_host_) return true;
  // A name can be made to point here by its owner, an address can't: where we listen on all of this
  // machine's addresses, any address that reached us is ours.
  if (listens_anywhere_ && (is_ipv4(host) || host.starts_with('['))) return true;
  return std::find(options_.hosts.begin(), options_.hosts.end(), host) != options_.hosts.end();
}

bool Auth::is_right_token(std::string_view authorization) const {
  constexpr std::string_view kScheme = "bearer ";
  if (lower(authorization.substr(0, kScheme.size())) != kScheme) return false;
  std::string_view token = authorization.substr(kScheme.size());
  while (token.starts_with(' ')) token.remove_prefix(1);
  // How long the token is may show; where it differs may not.
  return token.size() == options_.token.size() && CRYPTO_memcmp(token.data(), options_.token.data(), token.size()) == 0;
}

bool is_acting(const net::HttpRequest& request) {
  return request.method != "GET" || request.path.starts_with("/ping/");
}

}  // namespace defib::api
