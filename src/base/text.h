// Words for people: durations written and read, the nearest known name, text cut to a bound, globs.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"

namespace defib {

// "250ms", "30s", "5m", "2h", "7d"; one number, one unit, no sign. An error names what was expected.
Result<Duration> parse_duration(std::string_view text);

// The shortest exact form that parse_duration reads back, e.g. "1500ms", "90s", "2h".
std::string format_duration(Duration d);

// For sentences: two units at most, e.g. "93 s", "2 min 5 s", "2 h 5 min", "1.5 s", "40 ms".
std::string human_duration(Duration d);

// ISO 8601 in UTC with milliseconds: "2026-01-02T03:04:05.678Z".
std::string iso_time(WallTime t);

// The candidate nearest to `word` by edit distance, or "" where none is near enough to be meant.
std::string_view nearest_name(std::string_view word, std::span<const std::string_view> candidates);

// At most `bytes_max` bytes of `text`, never cutting a UTF-8 character in two.
std::string_view clip(std::string_view text, std::size_t bytes_max);

// True where `pattern` covers the whole of `text`; '*' is any run, '?' one character.
bool glob_match(std::string_view pattern, std::string_view text);

}  // namespace defib
