// RESP2 and RESP3 (redis.io/docs/reference/protocol-spec), bounded, push style: bytes in, whole values out.
//
// CommandParser is for a server (arrays of bulk strings, and inline commands), ReplyParser for a client.
// Neither allocates by a length that it was merely told, recurses without a bound, or reads past its input.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace defib::wire {

inline constexpr std::size_t kRespArgumentsMax = 1024;
inline constexpr std::size_t kRespBulkBytesMax = 64 * 1024;       // A larger bulk is read over and reported.
inline constexpr std::size_t kRespBulkBytesFatal = 1024 * 1024;   // Above it the connection must close.
inline constexpr std::size_t kRespInlineBytesMax = 64 * 1024;
inline constexpr std::size_t kRespDepthMax = 8;

struct Command {
  std::vector<std::string_view> arguments;   // Borrowed from the parser until its next call.
  // One argument was above kRespBulkBytesMax: its bytes were read over, its place holds "".
  bool is_oversized = false;
};

class CommandParser {
 public:
  // Adds received bytes. After an error the connection must be closed (the error is what to answer).
  Done feed(std::string_view bytes);
  // The next whole command, or nullopt where more bytes are needed. Borrowed until the next feed() or next().
  std::optional<Command> next();
  // Not empty once the input can't be RESP (or is HTTP: "POST ", "Host:"); what to answer before closing.
  const std::string& fatal() const { return fatal_; }
  // Bytes held now; bounded by kRespBulkBytesFatal + a little.
  std::size_t bytes_held() const { return buffer_.size(); }

 private:
  std::string buffer_;
  std::size_t position_ = 0;
  std::string fatal_;
};

struct RespValue {
  enum class Kind : std::uint8_t { simple, error, integer, bulk, null, array, map, set, push, boolean, real };
  Kind kind = Kind::null;
  std::string text;                // simple, error, bulk, real (as written)
  std::int64_t integer = 0;        // integer, boolean
  std::vector<RespValue> items;    // array, set, push; map: key, value, key, value, ...
};

class ReplyParser {
 public:
  Done feed(std::string_view bytes);
  std::optional<RespValue> next();
  const std::string& fatal() const { return fatal_; }

 private:
  std::string buffer_;
  std::size_t position_ = 0;
  std::string fatal_;
};

// Appends a command as an array of bulk strings.
void append_command(std::string& out, std::initializer_list<std::string_view> arguments);

}  // namespace defib::wire
