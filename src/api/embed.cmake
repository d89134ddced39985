# Writes OUT, the definition of asset() in assets.h, from the files of web/ and protocol/.
# Run as cmake -DSOURCE_DIR=... -DOUT=... -P embed.cmake, whenever one of them has changed.
set(CODE "#include \"api/assets.h\"\n\nnamespace defib::api {\n\nAsset asset(std::string_view path) {\n")

function(embed path content_type file)
  file(READ "${SOURCE_DIR}/${file}" BODY)
  string(APPEND CODE "  if (path == \"${path}\") return {\"${content_type}\", R\"defib_asset(${BODY})defib_asset\"};\n")
  set(CODE "${CODE}" PARENT_SCOPE)
endfunction()

embed("/" "text/html; charset=utf-8" web/index.html)
embed("/page.js" "text/javascript; charset=utf-8" web/page.js)
embed("/page.css" "text/css; charset=utf-8" web/page.css)
embed("/favicon.svg" "image/svg+xml" web/favicon.svg)
embed("/openapi.json" "application/json" protocol/openapi.json)

string(APPEND CODE "  return {};\n}\n\n}  // namespace defib::api\n")
file(WRITE "${OUT}" "${CODE}")
