#include "base/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <fmt/format.h>
#include <vector>

namespace defib {
namespace {

struct DurationUnit {
  std::string_view name;
  Duration length;
};
// Largest first, as format_duration tries them.
constexpr std::array<DurationUnit, 5> kUnits = {{{"d", 24h}, {"h", 1h}, {"m", 1min}, {"s", 1s}, {"ms", 1ms}}};

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  const auto bad = [&] {
    return Error{fmt::format("\"{}\" is not a duration: write a whole number and a unit, like 250ms, 30s, 5m, 2h or 7d",
                             clip(text, 64))};
  };
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0 || text.empty() || text.front() == '-') return bad();
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  for (const DurationUnit& known : kUnits) {
    if (unit != known.name) continue;
    // A hundred years keep every later sum of durations far from overflow.
    if (number > Duration(24h * 36'525) / known.length) return bad();
    return Duration(known.length * number);
  }
  return bad();
}

std::string format_duration(Duration d) {
  if (d == Duration::zero()) return "0s";
  for (const DurationUnit& unit : kUnits) {
    if (d % unit.length == Duration::zero()) return fmt::format("{}{}", d / unit.length, unit.name);
  }
  return fmt::format("{}ms", to_ms(d));
}

std::string human_duration(Duration d) {
  if (d < Duration::zero()) return "-" + human_duration(-d);
  if (d < 1s) return fmt::format("{} ms", to_ms(d));
  if (d < 10s) {
    const std::int64_t tenths = to_ms(d) / 100;
    return tenths % 10 == 0 ? fmt::format("{} s", tenths / 10) : fmt::format("{}.{} s", tenths / 10, tenths % 10);
  }
  if (d < 2min) return fmt::format("{} s", d / Duration(1s));
  const auto two = [](std::int64_t large, std::string_view large_name, std::int64_t small,
                      std::string_view small_name) {
    return small == 0 ? fmt::format("{} {}", large, large_name)
                      : fmt::format("{} {} {} {}", large, large_name, small, small_name);
  };
  if (d < 1h) return two(d / Duration(1min), "min", d % Duration(1min) / Duration(1s), "s");
  if (d < 24h) return two(d / Duration(1h), "h", d % Duration(1h) / Duration(1min), "min");
  return two(d / Duration(24h), "d", d % Duration(24h) / Duration(1h), "h");
}

std::string iso_time(WallTime t) {
  const std::int64_t ms = to_ms(t);
  // Round towards the past, so that the millisecond part is never negative.
  std::int64_t seconds = ms / 1000;
  std::int64_t rest = ms % 1000;
  if (rest < 0) {
    rest += 1000;
    --seconds;
  }
  const std::time_t time = seconds;
  std::tm parts{};
  if (gmtime_r(&time, &parts) == nullptr) return "1970-01-01T00:00:00.000Z";
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, rest);
}

std::string_view nearest_name(std::string_view word, std::span<const std::string_view> candidates) {
  std::string_view best;
  // A third of the letters may be wrong, three at most: further away it is another word.
  std::size_t best_distance = std::min<std::size_t>(3, std::max<std::size_t>(1, word.size() / 3)) + 1;
  for (const std::string_view candidate : candidates) {
    const std::size_t distance = edit_distance(word.substr(0, 64), candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string_view clip(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  std::size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end);
}

bool glob_match(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || (pattern[p] == text[t] && pattern[p] != '*'))) {
      ++p;
      ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace defib
