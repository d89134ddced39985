#include "app/console.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <iostream>
#include <numeric>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/check.h"
#include "base/text.h"

namespace defib::app {
namespace {

constexpr std::size_t kGap = 2;
// Below this a column says nothing any more; a narrower terminal wraps.
constexpr std::size_t kColumnWidthMin = 6;

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

// Characters, not bytes. Wide and combining characters count as one: a column may then be off by a little.
std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); }));
}

std::string cut(std::string_view text, std::size_t width) {
  if (characters(text) <= width) return std::string(text);
  constexpr std::string_view kDots = "...";
  const std::size_t kept = width > kDots.size() ? width - kDots.size() : 0;
  std::size_t end = 0;
  for (std::size_t seen = 0; end < text.size(); ++end) {
    if (is_continuation(text[end])) continue;
    if (seen++ == kept) break;
  }
  return fmt::format("{}{}", text.substr(0, end), kDots.substr(0, width));
}

}  // namespace

Console process_console() {
  Console console{.out = std::cout, .err = std::cerr};
  if (::isatty(STDOUT_FILENO) == 0) return console;
  const char* const no_color = std::getenv("NO_COLOR");
  const char* const term = std::getenv("TERM");
  console.is_color =
      (no_color == nullptr || *no_color == '\0') && (term == nullptr || std::string_view(term) != "dumb");
  winsize size{};
  constexpr std::size_t kWidthUnknown = 80;
  const bool is_known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  console.width = is_known ? size.ws_col : kWidthUnknown;
  return console;
}

std::string toned(const Console& console, Tone tone, std::string_view text) {
  if (!console.is_color || tone == Tone::plain) return std::string(text);
  std::string_view code;
  switch (tone) {
    case Tone::good:
      code = "32";
      break;
    case Tone::warning:
      code = "33";
      break;
    case Tone::bad:
      code = "1;31";
      break;
    case Tone::faint:
      code = "2";
      break;
    case Tone::plain:
      break;
  }
  return fmt::format("\033[{}m{}\033[0m", code, text);
}

Tone tone_of(std::string_view state) {
  if (state == "healthy" || state == "verified" || state == "closed") return Tone::good;
  if (state == "failed" || state == "open") return Tone::bad;
  if (state == "missing" || state == "stalled") return Tone::warning;
  if (state == "stopped") return Tone::faint;
  return Tone::plain;
}

std::string safe_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F are control characters too; in UTF-8 they are 0xC2 and the byte itself.
    const bool is_c1 = byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) >= 0x80 &&
                       static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (is_c1) ++i;
    out += byte < 0x20 || byte == 0x7F || is_c1 ? ' ' : text[i];
  }
  return out;
}

std::string human_age(std::int64_t now_ms, std::int64_t then_ms) {
  if (then_ms == 0) return "never";
  const Duration age = from_ms(now_ms - then_ms);
  // Tenths of a second would only say how long the answer took.
  if (age > -1s && age < 1s) return "now";
  if (age < 0s) return fmt::format("in {}", human_duration(-age / Duration(1s) * Duration(1s)));
  return fmt::format("{} ago", human_duration(age / Duration(1s) * Duration(1s)));
}

void Table::add(std::vector<Cell> row) {
  DEFIB_CHECK(row.size() == titles_.size());
  for (Cell& cell : row) cell.text = safe_text(cell.text);
  rows_.push_back(std::move(row));
}

std::vector<std::size_t> Table::widths(std::size_t width_max) const {
  std::vector<std::size_t> out;
  for (std::size_t column = 0; column < titles_.size(); ++column) {
    std::size_t width = characters(titles_[column]);
    for (const auto& row : rows_) width = std::max(width, characters(row[column].text));
    out.push_back(width);
  }
  if (width_max == 0) return out;
  const std::size_t gaps = kGap * (out.size() - 1);
  // The widest column gives way, again and again: a table has few columns and a terminal few characters.
  while (std::accumulate(out.begin(), out.end(), gaps) > width_max) {
    const auto widest = std::max_element(out.begin(), out.end());
    if (*widest <= kColumnWidthMin) break;
    const std::size_t excess = std::accumulate(out.begin(), out.end(), gaps) - width_max;
    // Not below the second widest, which must then give way with it.
    std::size_t second = kColumnWidthMin;
    for (auto it = out.begin(); it != out.end(); ++it) {
      if (it != widest) second = std::max(second, std::min(*it, *widest - 1));
    }
    *widest = std::max(second, *widest - std::min(excess, *widest - kColumnWidthMin));
  }
  return out;
}

std::string Table::print(const Console& console) const {
  const std::vector<std::size_t> width = widths(console.width);
  std::string out;
  const auto add_cell = [&](std::size_t column, std::string_view text, Tone tone) {
    const std::string shown = cut(text, width[column]);
    out += toned(console, tone, shown);
    // No spaces at the end of a line.
    if (column + 1 < width.size()) out.append(width[column] - characters(shown) + kGap, ' ');
  };
  for (std::size_t column = 0; column < titles_.size(); ++column) add_cell(column, titles_[column], Tone::faint);
  out += '\n';
  for (const auto& row : rows_) {
    for (std::size_t column = 0; column < row.size(); ++column) add_cell(column, row[column].text, row[column].tone);
    out += '\n';
  }
  return out;
}

std::string print_facts(const Console& console, const std::vector<Fact>& facts) {
  std::size_t width = 0;
  for (const Fact& fact : facts) width = std::max(width, characters(fact.name));
  std::string out;
  for (const Fact& fact : facts) {
    out +=
        fmt::format("  {}{}  {}\n", toned(console, Tone::faint, fact.name),
                    std::string(width - characters(fact.name), ' '), toned(console, fact.tone, safe_text(fact.value)));
  }
  return out;
}

}  // namespace defib::app
