// The command line, read with CLI11: which subcommand, and what it was asked.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "app/console.h"
#include "app/flags.h"

namespace defib::app {

struct Arguments {
  // Absent: help or a mistake was printed, and the program ends with `exit_code` (0 or 2).
  std::optional<Flags> flags;
  int exit_code = 0;
};

// `words` are the arguments without the program's name. Looks at DEFIB_URL and DEFIB_TOKEN.
Arguments read_arguments(const std::vector<std::string>& words, const Console& console);

}  // namespace defib::app
