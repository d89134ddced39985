// Who may ask at all: the name that the caller used for us, the page that it comes from, and the token.
//
// A web page that anybody opens can make its reader's browser send requests to loopback. It can't choose
// the Host and Origin that the browser writes, nor add Authorization without having the token; so these
// three are looked at before anything is done. Pure; no state but the options.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_server.h"

namespace defib::api {

struct AuthOptions {
  std::string token;               // A secret; empty: none is asked for.
  std::string listen;              // "127.0.0.1:7070", as configured. 0.0.0.0 and [::] stand for any address.
  std::vector<std::string> hosts;  // Further names without port by which we may be called ("defib", "box.lan").
};

class Auth {
 public:
  explicit Auth(AuthOptions options);

  // The refusal to answer with: 403 foreign_host or foreign_origin, 401 no_token or bad_token; nullopt: go on.
  //
  // Loopback's names and addresses are good with any port, since forwarded ports differ. `/healthz` and the
  // page's own files need no token: they show nothing of the fleet, and the page must load to ask for it.
  std::optional<net::HttpResponse> refusal(const net::HttpRequest& request) const;

 private:
  bool is_our_host(std::string_view authority) const;
  bool is_right_token(std::string_view authorization) const;

  AuthOptions options_;
  std::string listen_host_;
  bool listens_anywhere_ = false;
};

// True where the request changes something: all but GET, and pings, which act by GET too.
bool is_acting(const net::HttpRequest& request);

}  // namespace defib::api
