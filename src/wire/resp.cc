#include "wire/resp.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

namespace defib::wire {
namespace {

// The longest line that announces a length: a type, a sign, 19 digits, CRLF, and some.
constexpr std::size_t kLengthLineBytesMax = 32;
// What a connection keeps between commands; more is given back, so that an idle one stays small.
constexpr std::size_t kIdleBytesMax = 1024;
constexpr std::size_t kIdleArgumentsMax = 64;

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0'; }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equals_ignoring_case(std::string_view text, std::string_view lower_case) {
  return std::ranges::equal(text, lower_case, [](char a, char b) { return lower(a) == b; });
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (lower(c) >= 'a' && lower(c) <= 'f') return lower(c) - 'a' + 10;
  return -1;
}

// What stands after a backslash within double quotes, as in redis-cli; `position` moves past it.
char unescape(std::string_view text, std::size_t& position) {
  if (text[position] == 'x' && position + 2 < text.size()) {
    const int high = hex_digit(text[position + 1]);
    const int low = hex_digit(text[position + 2]);
    if (high >= 0 && low >= 0) {
      position += 3;
      return static_cast<char>(high * 16 + low);
    }
  }
  const char c = text[position++];
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'b':
      return '\b';
    case 'a':
      return '\a';
    default:
      return c;
  }
}

// A byte as it may stand in a message: printable, or its number.
std::string shown(char c) {
  return c >= ' ' && c <= '~' ? fmt::format("'{}'", c) : fmt::format("byte 0x{:02x}", static_cast<unsigned char>(c));
}

void append_line(std::string& out, char type, std::string_view text) {
  out.push_back(type);
  const std::size_t begin = out.size();
  out.append(text);
  std::replace_if(
      out.begin() + static_cast<std::ptrdiff_t>(begin), out.end(), [](char c) { return c == '\r' || c == '\n'; }, ' ');
  out.append("\r\n");
}

}  // namespace

// ---- CommandParser -----------------------------------------------------------------------------------

Done CommandParser::feed(std::string_view bytes) {
  if (!fatal_.empty()) return Error{fatal_};
  if (is_complete_) begin();
  if (input_.empty()) {
    input_ = bytes;
  } else {
    keep();
    kept_.append(bytes);
    input_ = kept_;
  }
  return Unit{};
}

std::optional<Command> CommandParser::next() {
  if (is_complete_) begin();
  while (fatal_.empty() && !(input_.empty() && !is_held_)) {
    if (!take_token()) break;
    if (!is_complete_) continue;
    if (pieces_.empty()) {  // "*0" and blank lines are no commands and have no answer.
      begin();
      continue;
    }
    const char* base = is_held_ ? held_.data() : input_.data();
    views_.clear();
    for (const Piece& piece : pieces_) views_.emplace_back(base + piece.offset, piece.bytes);
    return Command{.arguments = views_, .is_oversized = is_oversized_};
  }
  if (!kept_.empty()) std::string().swap(kept_);  // All of it is handed out, or held.
  input_ = {};
  return std::nullopt;
}

void CommandParser::keep() {
  if (is_complete_) begin();
  std::string rest(input_);
  kept_ = std::move(rest);
  input_ = kept_;
}

// Leaves the present command behind and stands before the next one.
void CommandParser::begin() {
  if (is_held_) {
    if (held_.capacity() > kIdleBytesMax) std::string().swap(held_);
    held_.clear();
  } else {
    input_.remove_prefix(cursor_);
  }
  if (pieces_.capacity() > kIdleArgumentsMax) {
    std::vector<Piece>().swap(pieces_);
    std::vector<std::string_view>().swap(views_);
  }
  pieces_.clear();
  cursor_ = wanted_ = total_bytes_ = 0;
  arguments_left_ = 0;
  state_ = State::start;
  is_held_ = is_complete_ = is_oversized_ = false;
}

// From here on the present command gathers in `held_`, which can outlive the input.
void CommandParser::hold() {
  held_.assign(input_.substr(0, cursor_));
  input_.remove_prefix(cursor_);
  is_held_ = true;
}

bool CommandParser::fail(std::string error) {
  fatal_ = std::move(error);
  return false;
}

bool CommandParser::take_token() {
  switch (state_) {
    case State::start:
      return take_start();
    case State::length:
      return take_length();
    case State::bulk:
      return take_bulk();
    case State::skipped:
      return take_skipped();
  }
  return false;
}

bool CommandParser::take_start() {
  const char first = is_held_ ? held_.front() : input_.front();
  if (first != '*') return take_inline();
  const auto line = take_line(kLengthLineBytesMax, "Protocol error: too big mbulk count string");
  if (!line) return false;
  const auto count = parse_integer(line->substr(1));
  if (!count || *count > static_cast<std::int64_t>(kRespArgumentsMax)) {
    return fail(fmt::format("Protocol error: invalid multibulk length, at most {} arguments", kRespArgumentsMax));
  }
  if (*count <= 0) {
    is_complete_ = true;
    return true;
  }
  arguments_left_ = static_cast<std::uint32_t>(*count);
  state_ = State::length;
  return true;
}

bool CommandParser::take_inline() {
  const auto line = take_line(kRespInlineBytesMax, "Protocol error: too big inline request");
  if (!line) return false;
  const std::size_t bytes = line->size();
  if (!is_held_) hold();  // Quotes are taken away in place, so the text must be ours.
  if (!split_inline(bytes)) return false;
  if (!pieces_.empty()) {
    const std::string_view name(held_.data() + pieces_.front().offset, pieces_.front().bytes);
    if (equals_ignoring_case(name, "post") || equals_ignoring_case(name, "host:")) {
      return fail("Protocol error: this is HTTP, and this port speaks the Redis protocol");
    }
  }
  is_complete_ = true;
  return true;
}

// Words parted by spaces; "..." with escapes and '...' as in redis-cli.
bool CommandParser::split_inline(std::size_t bytes) {
  char* const text = held_.data();
  std::size_t read = 0;
  std::size_t write = 0;  // Never ahead of `read`.
  for (;;) {
    while (read < bytes && is_space(text[read])) ++read;
    if (read == bytes) return true;
    if (pieces_.size() == kRespArgumentsMax) return fail("Protocol error: too many words in an inline request");
    const std::size_t start = write;
    char quote = '\0';
    while (read < bytes && (quote != '\0' || !is_space(text[read]))) {
      const char c = text[read++];
      if (quote == '\0' && (c == '"' || c == '\'')) {
        quote = c;
      } else if (quote != '\0' && c == quote) {
        if (read < bytes && !is_space(text[read])) return fail("Protocol error: unbalanced quotes in request");
        quote = '\0';
      } else if (quote == '"' && c == '\\' && read < bytes) {
        text[write++] = unescape({text, bytes}, read);
      } else if (quote == '\'' && c == '\\' && read < bytes && text[read] == '\'') {
        text[write++] = text[read++];
      } else {
        text[write++] = c;
      }
    }
    if (quote != '\0') return fail("Protocol error: unbalanced quotes in request");
    pieces_.push_back({start, write - start});
  }
}

bool CommandParser::take_length() {
  const auto line = take_line(kLengthLineBytesMax, "Protocol error: too big bulk count string");
  if (!line) return false;
  if (!line->starts_with('$')) {
    return fail(
        fmt::format("Protocol error: expected '$', got {}", line->empty() ? "an empty line" : shown((*line)[0])));
  }
  const auto length = parse_integer(line->substr(1));
  if (!length || *length < 0 || *length > static_cast<std::int64_t>(kRespBulkBytesFatal)) {
    return fail(fmt::format("Protocol error: invalid bulk length, at most {} bytes", kRespBulkBytesFatal));
  }
  wanted_ = static_cast<std::size_t>(*length);
  total_bytes_ += wanted_;
  if (total_bytes_ > kRespTotalBytesMax) {
    return fail(fmt::format("Protocol error: a command has at most {} bytes", kRespTotalBytesMax));
  }
  state_ = State::bulk;
  if (wanted_ > kRespBulkBytesMax) {
    if (!is_held_) hold();  // What is read over leaves a gap in the input, and none in `held_`.
    is_oversized_ = true;
    state_ = State::skipped;
  }
  return true;
}

bool CommandParser::take_bulk() {
  const std::size_t offset = cursor_;
  const auto bulk = take_bytes(wanted_ + 2);
  if (!bulk) return false;
  if ((*bulk)[wanted_] != '\r' || (*bulk)[wanted_ + 1] != '\n') {
    return fail("Protocol error: a bulk does not end where its length says");
  }
  end_argument({offset, wanted_});
  return true;
}

bool CommandParser::take_skipped() {
  const std::size_t bytes = std::min(wanted_, input_.size());
  input_.remove_prefix(bytes);
  wanted_ -= bytes;
  if (wanted_ > 0) return false;
  const auto line_end = take_bytes(2);
  if (!line_end) return false;
  if (*line_end != "\r\n") return fail("Protocol error: a bulk does not end where its length says");
  end_argument({cursor_, 0});
  return true;
}

void CommandParser::end_argument(Piece piece) {
  pieces_.push_back(piece);
  state_ = State::length;
  if (--arguments_left_ == 0) is_complete_ = true;
}

// A line without its end, which is LF or CRLF.
std::optional<std::string_view> CommandParser::take_line(std::size_t bytes_max, std::string_view error) {
  std::size_t end = is_held_ ? std::string_view::npos : input_.find('\n', cursor_);
  if (end == std::string_view::npos) {
    if (!is_held_) hold();
    // Up to the line's end and no further: what follows is taken from the input, without a copy.
    const std::size_t bytes = std::min({input_.find('\n'), input_.size() - 1, bytes_max}) + 1;
    held_.append(input_.substr(0, bytes));
    input_.remove_prefix(std::min(bytes, input_.size()));
    if (!held_.ends_with('\n') || held_.size() == cursor_) {
      if (held_.size() - cursor_ > bytes_max) fail(std::string(error));
      return std::nullopt;
    }
    end = held_.size() - 1;
  }
  const std::string_view text = is_held_ ? std::string_view(held_) : input_;
  std::string_view line = text.substr(cursor_, end - cursor_);
  if (line.size() > bytes_max) {
    fail(std::string(error));
    return std::nullopt;
  }
  cursor_ = end + 1;
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

std::optional<std::string_view> CommandParser::take_bytes(std::size_t bytes) {
  if (!is_held_ && input_.size() - cursor_ < bytes) hold();
  if (is_held_) {
    const std::size_t missing = cursor_ + bytes - held_.size();
    const std::size_t moved = std::min(missing, input_.size());
    held_.append(input_.substr(0, moved));
    input_.remove_prefix(moved);
    if (moved < missing) return std::nullopt;
  }
  const std::string_view text = is_held_ ? std::string_view(held_) : input_;
  const std::string_view taken = text.substr(cursor_, bytes);
  cursor_ += bytes;
  return taken;
}

// ---- ReplyParser -------------------------------------------------------------------------------------

Done ReplyParser::feed(std::string_view bytes) {
  if (!fatal_.empty()) return Error{fatal_};
  compact();
  buffer_.append(bytes);
  return Unit{};
}

std::optional<RespValue> ReplyParser::next() {
  std::optional<RespValue> value;
  while (fatal_.empty() && take_token(value)) {
    // A whole value goes into the aggregate that awaits it, which may become whole by that, and so on.
    while (value && !frames_.empty()) {
      Frame& frame = frames_.back();
      frame.value.items.push_back(std::move(*value));
      value.reset();
      if (--frame.items_left > 0) break;
      if (!frame.is_attribute) value = std::move(frame.value);
      frames_.pop_back();
    }
    if (value) {
      total_bytes_ = 0;
      return value;
    }
  }
  return std::nullopt;
}

// Reads one line, with its blob where it announces one. True where the parser got on: `value` then holds
// a value, or nothing where an aggregate was opened.
bool ReplyParser::take_token(std::optional<RespValue>& value) {
  value.reset();
  const std::string_view rest = std::string_view(buffer_).substr(position_);
  const std::size_t end = rest.find("\r\n");
  if (end == std::string_view::npos) {
    return rest.size() > kRespInlineBytesMax ? fail("a line of the reply is too long") : false;
  }
  if (end == 0) return fail("an empty line where a reply was expected");
  if (end > kRespInlineBytesMax) return fail("a line of the reply is too long");
  const char type = rest.front();
  const std::string_view line = rest.substr(1, end - 1);
  if (type == '$' || type == '=' || type == '!') return take_blob(type, line, end + 2, value);

  if (type == '*' || type == '%' || type == '~' || type == '>' || type == '|') {
    if (type == '*' && line == "-1") {
      value.emplace();
    } else if (!open(type, line)) {
      return false;
    } else if (frames_.back().items_left == 0) {
      if (!frames_.back().is_attribute) value = std::move(frames_.back().value);
      frames_.pop_back();
    }
  } else if (type == '+' || type == '-' || type == ',' || type == '(') {
    const auto kind = type == '+'   ? RespValue::Kind::simple
                      : type == '-' ? RespValue::Kind::error
                                    : RespValue::Kind::real;
    if (kind == RespValue::Kind::real && line.empty()) return fail("a number without digits in the reply");
    value = RespValue{.kind = kind, .text = std::string(line), .integer = 0, .items = {}};
  } else if (type == ':') {
    // Servers may write "+1"; parse_integer is for lengths and takes no sign but '-'.
    const auto number = parse_integer(line.starts_with('+') ? line.substr(1) : line);
    if (!number || line.starts_with("+-")) return fail("a bad integer in the reply");
    value = RespValue{.kind = RespValue::Kind::integer, .text = {}, .integer = *number, .items = {}};
  } else if (type == '#') {
    if (line != "t" && line != "f") return fail("a bad boolean in the reply");
    value = RespValue{.kind = RespValue::Kind::boolean, .text = {}, .integer = line == "t" ? 1 : 0, .items = {}};
  } else if (type == '_') {
    if (!line.empty()) return fail("a bad null in the reply");
    value.emplace();
  } else {
    return fail(fmt::format("{} where a reply was expected", shown(type)));
  }
  position_ += end + 2;
  total_bytes_ += end + 2;
  return total_bytes_ > kRespTotalBytesMax ? fail("the reply is too large") : true;
}

bool ReplyParser::take_blob(char type, std::string_view line, std::size_t line_end, std::optional<RespValue>& value) {
  if (type == '$' && line == "-1") {
    value.emplace();
    position_ += line_end;
    total_bytes_ += line_end;
    return total_bytes_ > kRespTotalBytesMax ? fail("the reply is too large") : true;
  }
  const auto length = parse_integer(line);
  if (!length || *length < 0 || *length > static_cast<std::int64_t>(kRespBulkBytesFatal)) {
    return fail("a bad bulk length in the reply");
  }
  const auto bytes = static_cast<std::size_t>(*length);
  if (total_bytes_ + line_end + bytes + 2 > kRespTotalBytesMax) return fail("the reply is too large");
  std::string_view rest = std::string_view(buffer_).substr(position_ + line_end);
  if (rest.size() < bytes + 2) return false;
  if (rest.substr(bytes, 2) != "\r\n") return fail("a bulk does not end where its length says");
  position_ += line_end + bytes + 2;
  total_bytes_ += line_end + bytes + 2;
  rest = rest.substr(0, bytes);
  if (type == '=') {
    if (bytes < 4 || rest[3] != ':') return fail("a bad verbatim string in the reply");
    rest.remove_prefix(4);
  }
  const auto kind = type == '!' ? RespValue::Kind::error : RespValue::Kind::bulk;
  value = RespValue{.kind = kind, .text = std::string(rest), .integer = 0, .items = {}};
  return true;
}

bool ReplyParser::open(char type, std::string_view line) {
  const auto length = parse_integer(line);
  if (!length || *length < 0 || *length > static_cast<std::int64_t>(kRespItemsMax)) {
    return fail("a bad aggregate length in the reply");
  }
  if (frames_.size() == kRespDepthMax) return fail("the reply is nested too deeply");
  const bool is_paired = type == '%' || type == '|';
  Frame& frame = frames_.emplace_back();
  frame.items_left = static_cast<std::size_t>(*length) * (is_paired ? 2 : 1);
  frame.is_attribute = type == '|';
  frame.value.kind = is_paired     ? RespValue::Kind::map
                     : type == '~' ? RespValue::Kind::set
                     : type == '>' ? RespValue::Kind::push
                                   : RespValue::Kind::array;
  return true;
}

bool ReplyParser::fail(std::string error) {
  fatal_ = std::move(error);
  return false;
}

void ReplyParser::compact() {
  if (position_ == buffer_.size()) {
    buffer_.clear();
    if (buffer_.capacity() > kRespBulkBytesMax) std::string().swap(buffer_);
    position_ = 0;
  } else if (position_ > buffer_.size() / 2) {
    buffer_.erase(0, position_);
    position_ = 0;
  }
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.empty() || (digits.size() > 1 && digits.front() == '0')) return std::nullopt;
  if (digits.front() < '0' || digits.front() > '9') return std::nullopt;
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// ---- Writing -----------------------------------------------------------------------------------------

void append_command(std::string& out, std::span<const std::string_view> arguments) {
  append_head(out, '*', arguments.size());
  for (const std::string_view argument : arguments) append_bulk(out, argument);
}

void append_command(std::string& out, std::initializer_list<std::string_view> arguments) {
  append_command(out, std::span<const std::string_view>(arguments.begin(), arguments.size()));
}

void append_simple(std::string& out, std::string_view text) { append_line(out, '+', text); }

void append_error(std::string& out, std::string_view text) { append_line(out, '-', text); }

void append_integer(std::string& out, std::int64_t number) {
  const fmt::format_int digits(number);
  out.push_back(':');
  out.append(digits.data(), digits.size()).append("\r\n");
}

void append_bulk(std::string& out, std::string_view text) {
  append_head(out, '$', text.size());
  out.append(text).append("\r\n");
}

void append_head(std::string& out, char type, std::size_t items) {
  const fmt::format_int digits(items);
  out.push_back(type);
  out.append(digits.data(), digits.size()).append("\r\n");
}

}  // namespace defib::wire
