#include "testing/words.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "base/text.h"

namespace defib::stage {
namespace {

std::optional<std::int64_t> to_number(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// A sign is allowed here, as clocks may be behind.
std::optional<Duration> to_duration(std::string_view text) {
  const bool is_negative = !text.empty() && text.front() == '-';
  if (is_negative || (!text.empty() && text.front() == '+')) text.remove_prefix(1);
  const Result<Duration> parsed = parse_duration(text);
  if (!parsed) return std::nullopt;
  return is_negative ? -parsed.value() : parsed.value();
}

}  // namespace

Result<Words> Words::parse(std::string_view line) {
  Words words;
  std::string item;
  std::size_t equals = std::string::npos;  // The first '=' outside of quotes in this item.
  bool is_quoted = false;
  bool is_open = false;
  const auto finish = [&] {
    if (!is_open) return;
    if (equals == std::string::npos) {
      words.plain_.push_back(item);
    } else {
      words.pairs_[item.substr(0, equals)] = item.substr(equals + 1);
    }
    item.clear();
    equals = std::string::npos;
    is_open = false;
  };
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '"') {
      is_quoted = !is_quoted;
      is_open = true;
    } else if (is_quoted && c == '\\' && i + 1 < line.size() && line[i + 1] == 'n') {
      item += '\n';
      ++i;
    } else if (c == ' ' && !is_quoted) {
      finish();
    } else {
      if (c == '=' && !is_quoted && equals == std::string::npos) equals = item.size();
      item += c;
      is_open = true;
    }
  }
  finish();
  if (is_quoted) return Error{"a quote is not closed"};
  if (words.plain_.empty()) return Error{"a command begins with a word"};
  return words;
}

std::string Words::word(std::size_t n) {
  if (n < plain_count()) return plain_[n + 1];
  complain(fmt::format("{} wants at least {} words", verb(), n + 1));
  return "";
}

bool Words::has_flag(std::string_view word) const { return std::ranges::find(plain_, word) != plain_.end(); }

std::optional<std::string> Words::maybe_text(std::string_view key) {
  const auto at = pairs_.find(key);
  if (at == pairs_.end()) return std::nullopt;
  used_[at->first] = true;
  return at->second;
}

std::string Words::text(std::string_view key, std::string_view otherwise) {
  return maybe_text(key).value_or(std::string(otherwise));
}

std::optional<std::int64_t> Words::maybe_number(std::string_view key) {
  const auto value = maybe_text(key);
  if (!value) return std::nullopt;
  const auto number = to_number(*value);
  if (!number) complain(fmt::format("{}={} is not a number", key, *value));
  return number;
}

std::int64_t Words::number(std::string_view key, std::int64_t otherwise) {
  return maybe_number(key).value_or(otherwise);
}

std::optional<Duration> Words::maybe_duration(std::string_view key) {
  const auto value = maybe_text(key);
  if (!value) return std::nullopt;
  const auto duration = to_duration(*value);
  if (!duration) complain(fmt::format("{}={} is not a duration", key, *value));
  return duration;
}

Duration Words::duration(std::string_view key, Duration otherwise) { return maybe_duration(key).value_or(otherwise); }

Duration Words::duration_word(std::size_t n) {
  const std::string text = word(n);
  const auto duration = to_duration(text);
  if (!duration) complain(fmt::format("\"{}\" is not a duration", text));
  return duration.value_or(0s);
}

std::int64_t Words::number_word(std::size_t n) {
  const std::string text = word(n);
  const auto number = to_number(text);
  if (!number) complain(fmt::format("\"{}\" is not a number", text));
  return number.value_or(0);
}

void Words::complain(const std::string& mistake) {
  if (mistake_.empty()) mistake_ = mistake;
}

std::string Words::mistake() const {
  if (!mistake_.empty()) return mistake_;
  for (const auto& [key, value] : pairs_) {
    if (!used_.contains(key)) return fmt::format("{} knows no {}=", verb(), key);
  }
  return "";
}

}  // namespace defib::stage
