// The files that are built into the binary: the page (web/) and the API's description (protocol/).
#pragma once

#include <string_view>

namespace defib::api {

struct Asset {
  std::string_view content_type;
  std::string_view body;
};

// "/", "/page.js", "/page.css", "/favicon.svg" and "/openapi.json"; an empty body for anything else.
Asset asset(std::string_view path);

}  // namespace defib::api
