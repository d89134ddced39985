#include "app/console.h"

#include <gtest/gtest.h>
#include <sstream>

namespace defib::app {
namespace {

struct Captured {
  std::ostringstream out;
  std::ostringstream err;
};

TEST(SafeText, NoAgentCanSteerTheTerminal) {
  EXPECT_EQ(safe_text("a\x1b[31mb\nc\td\x7f"), "a [31mb c d ");
  EXPECT_EQ(safe_text("x\xC2\x9By"), "x y");         // U+009B is the same as ESC [.
  EXPECT_EQ(safe_text("z\xC3\xA4h"), "z\xC3\xA4h");  // Letters stay.
}

TEST(HumanAge, SaysWhenInWordsOfPeople) {
  EXPECT_EQ(human_age(1'000'000, 0), "never");
  EXPECT_EQ(human_age(1'000'000, 999'500), "now");
  EXPECT_EQ(human_age(1'000'000, 987'900), "12 s ago");
  EXPECT_EQ(human_age(1'000'000, 1'003'100), "in 3 s");
  EXPECT_EQ(human_age(10'000'000, 1), "2 h 46 min ago");
}

TEST(Table, ColumnsAreAsWideAsTheyNeed) {
  Captured captured;
  const Console console{.out = captured.out, .err = captured.err};
  Table table({"STATE", "AGENT", "WHAT"});
  table.add({{"failed", Tone::bad}, {"a"}, {"no beat for 93 s"}});
  table.add({{"healthy"}, {"a-longer-one"}, {"z\xC3\xA4hlt\nauf"}});
  EXPECT_EQ(table.print(console),
            "STATE    AGENT         WHAT\n"
            "failed   a             no beat for 93 s\n"
            "healthy  a-longer-one  z\xC3\xA4hlt auf\n");
}

TEST(Table, NoLineIsWiderThanTheTerminal) {
  Captured captured;
  for (const std::size_t width : {24U, 30U, 40U, 60U, 200U}) {
    const Console console{.out = captured.out, .err = captured.err, .width = width};
    Table table({"A", "B", "C"});
    table.add({{std::string(50, 'x')}, {std::string(80, 'y')}, {"short"}});
    std::istringstream lines(table.print(console));
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), width);
  }
}

TEST(Toned, ColourIsOnlyWhereTheConsoleHasIt) {
  Captured captured;
  EXPECT_EQ(toned({.out = captured.out, .err = captured.err}, Tone::bad, "x"), "x");
  EXPECT_EQ(toned({.out = captured.out, .err = captured.err, .is_color = true}, Tone::bad, "x"), "\033[1;31mx\033[0m");
}

}  // namespace
}  // namespace defib::app
