// Text scenarios: commands, a line of dashes, and below it what came out. See tests/scenarios/README.md
// for the grammar.
//
// A file is a list of blocks separated by blank lines. A block is any number of comments and commands,
// `----`, and the expected output up to the next blank line; a block without output says "ok".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace defib::stage {

struct Block {
  std::vector<std::string> text;  // Comments, commands and blank lines as they stand in the file.
  std::string expected;           // Lines, each with its newline.
  int line = 0;                   // Of the first line of text, from 1.
};

// An error names the line.
Result<std::vector<Block>> parse_scenario(std::string_view text);

// What the file would be if its expectations were what happens now. An error names the line of a
// command that can't be understood.
Result<std::string> run_scenario(std::string_view text);

}  // namespace defib::stage
