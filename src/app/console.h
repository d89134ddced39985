// Where a subcommand writes, and the shapes of what people read there: tables, ages, colour.
//
// What comes from agents is data: everything that is printed passes safe_text(), so that no task name
// can move a terminal's cursor or colour its lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace defib::app {

struct Console {
  std::ostream& out;
  std::ostream& err;
  bool is_color = false;
  std::size_t width = 0;  // In characters; 0: not a terminal, nothing is cut.
};

// The process's own: colour only on a terminal and without NO_COLOR (no-color.org) and TERM=dumb.
Console process_console();

enum class Tone : std::uint8_t { plain, good, warning, bad, faint };
std::string toned(const Console& console, Tone tone, std::string_view text);
// How a state of an agent or an incident looks.
Tone tone_of(std::string_view state);

// One line without control characters: those, and line ends, become spaces.
std::string safe_text(std::string_view text);

// "12 s ago", "now", "in 3 s" where clocks differ, "never" for 0.
std::string human_age(std::int64_t now_ms, std::int64_t then_ms);

struct Cell {
  std::string text;
  Tone tone = Tone::plain;
};

// Columns as wide as they need, the widest ones cut ("...") until a row fits the console's width.
class Table {
 public:
  explicit Table(std::vector<std::string> titles) : titles_(std::move(titles)) {}
  // One cell a title.
  void add(std::vector<Cell> row);
  std::string print(const Console& console) const;

 private:
  std::vector<std::size_t> widths(std::size_t width_max) const;

  std::vector<std::string> titles_;
  std::vector<std::vector<Cell>> rows_;
};

struct Fact {
  std::string name;
  std::string value;
  Tone tone = Tone::plain;
};

// "  name  value" lines, the values in one column; names are ours, values are made safe here.
std::string print_facts(const Console& console, const std::vector<Fact>& facts);

}  // namespace defib::app
