// RESP2 and RESP3 (redis.io/docs/reference/protocol-spec), bounded, push style: bytes in, whole values out.
//
// CommandParser is for a server (arrays of bulk strings, and inline commands), ReplyParser for a client.
// Neither allocates by a length that it was merely told, recurses, or reads past its input, and neither
// starts over when the input comes in small pieces.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace defib::wire {

inline constexpr std::size_t kRespArgumentsMax = 1024;
inline constexpr std::size_t kRespBulkBytesMax = 64 * 1024;      // A larger bulk is read over and reported.
inline constexpr std::size_t kRespBulkBytesFatal = 1024 * 1024;  // Above it the connection must close.
inline constexpr std::size_t kRespInlineBytesMax = 64 * 1024;
inline constexpr std::size_t kRespDepthMax = 8;
// All bytes of one command or reply, read over or kept: one bulk at its bound and something beside it.
inline constexpr std::size_t kRespTotalBytesMax = kRespBulkBytesFatal + kRespBulkBytesMax;
// Items of one aggregate in a reply.
inline constexpr std::size_t kRespItemsMax = 64 * 1024;

struct Command {
  // At least one. Borrowed, as is their text, until the parser's next call.
  std::span<const std::string_view> arguments;
  // An argument was above kRespBulkBytesMax: its bytes were read over, its place holds "".
  bool is_oversized = false;
};

class CommandParser {
 public:
  CommandParser() = default;
  CommandParser(const CommandParser&) = delete;
  CommandParser& operator=(const CommandParser&) = delete;

  // Takes received bytes, once next() has returned nullopt on those before. Commands are views of them
  // where they are whole, so they must live until next() returns nullopt or keep() is called.
  // An error repeats fatal().
  Done feed(std::string_view bytes);
  // The next whole command; nullopt where more bytes are needed or the input is broken (see fatal()).
  std::optional<Command> next();
  // Copies what was fed and not yet handed out: for a reader that must stop before nullopt.
  void keep();

  // Not empty once the input can't be RESP (or is HTTP: "POST ", "Host:"); what to answer before closing.
  const std::string& fatal() const { return fatal_; }
  // A command has begun and waits for its end. True only after next() has returned nullopt.
  bool is_within_command() const { return is_held_ && !is_complete_; }
  // Bytes held now; at most kRespTotalBytesMax and a little, beside what keep() was called on.
  std::size_t bytes_held() const { return held_.size() + kept_.size(); }

 private:
  // What the cursor stands before.
  enum class State : std::uint8_t { start, length, bulk, skipped };
  struct Piece {
    std::size_t offset;  // From the command's beginning.
    std::size_t bytes;
  };

  void begin();
  void hold();
  bool fail(std::string error);
  // Each reads one token; false where it can't (more bytes are needed, or the input is broken).
  bool take_token();
  bool take_start();
  bool take_inline();
  bool take_length();
  bool take_bulk();
  bool take_skipped();
  std::optional<std::string_view> take_line(std::size_t bytes_max, std::string_view error);
  std::optional<std::string_view> take_bytes(std::size_t bytes);
  bool split_inline(std::size_t bytes);
  void end_argument(Piece piece);

  // The present command begins at the front of `input_`; once the input has cut it in two, it gathers in
  // `held_` instead, and `input_` is what follows.
  std::string_view input_;
  std::string held_;
  std::string kept_;        // What keep() copied; `input_` is a view of it then.
  std::size_t cursor_ = 0;  // In the present command.
  std::size_t wanted_ = 0;  // Bytes of the awaited bulk, or still to be read over, without their CRLF.
  std::size_t total_bytes_ = 0;
  std::uint32_t arguments_left_ = 0;
  State state_ = State::start;
  bool is_held_ = false;
  bool is_complete_ = false;
  bool is_oversized_ = false;
  std::vector<Piece> pieces_;
  std::vector<std::string_view> views_;
  std::string fatal_;
};

struct RespValue {
  enum class Kind : std::uint8_t { simple, error, integer, bulk, null, array, map, set, push, boolean, real };
  Kind kind = Kind::null;
  std::string text;              // simple, error, bulk, real (as written; big numbers too)
  std::int64_t integer = 0;      // integer, boolean
  std::vector<RespValue> items;  // array, set, push; map: key, value, key, value, ...
};

// Attributes are read over; a verbatim string is a bulk without its format, a blob error an error. Streamed
// values of unknown length, which no server sends, are refused.
class ReplyParser {
 public:
  Done feed(std::string_view bytes);
  // The next whole reply; nullopt where more bytes are needed or the input is broken (see fatal()).
  std::optional<RespValue> next();
  // Not empty once the input can't be RESP, or is above a bound; the connection must be closed.
  const std::string& fatal() const { return fatal_; }

 private:
  struct Frame {
    RespValue value;
    std::size_t items_left = 0;
    bool is_attribute = false;
  };

  bool take_token(std::optional<RespValue>& value);
  bool take_blob(char type, std::string_view line, std::size_t line_end, std::optional<RespValue>& value);
  bool open(char type, std::string_view line);
  bool fail(std::string error);
  void compact();

  std::string buffer_;
  std::size_t position_ = 0;
  std::size_t total_bytes_ = 0;  // Of the present reply, so far.
  std::vector<Frame> frames_;    // Open aggregates, outermost first; at most kRespDepthMax.
  std::string fatal_;
};

// Strict, as Redis is: an optional '-', digits without leading zeros, nothing else.
std::optional<std::int64_t> parse_integer(std::string_view text);

// Appends a command as an array of bulk strings.
void append_command(std::string& out, std::initializer_list<std::string_view> arguments);
void append_command(std::string& out, std::span<const std::string_view> arguments);

// Append one reply, or its head. Line ends in the text of `simple` and `error` become spaces.
void append_simple(std::string& out, std::string_view text);
void append_error(std::string& out, std::string_view text);
void append_integer(std::string& out, std::int64_t number);
void append_bulk(std::string& out, std::string_view text);
// `type` is '*', '%', '~' or '>'; the items follow.
void append_head(std::string& out, char type, std::size_t items);

}  // namespace defib::wire
