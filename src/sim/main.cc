// defib_sim: runs seed after seed and stops at the first broken promise.
#include <chrono>
#include <cstdio>
#include <fmt/format.h>
#include <string>

#include <CLI/CLI.hpp>

#include "base/text.h"
#include "sim/report.h"
#include "sim/world.h"

namespace {

struct Flags {
  std::uint64_t seed = 1;
  std::uint64_t seeds = 0;
  std::uint32_t agents = 0;
  std::string length = "1d";
  std::int64_t seconds = 0;
  bool is_verbose = false;
};

int simulate(const Flags& flags, defib::Duration length) {
  // The only clock here: it ends the series and never enters a run.
  const auto begin = std::chrono::steady_clock::now();
  const auto spent = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); };
  const std::uint64_t seeds = flags.seeds != 0 ? flags.seeds : flags.seconds != 0 ? UINT64_MAX : 1;
  defib::sim::Tally sum;
  double agent_hours = 0;
  std::uint64_t runs = 0;
  for (; runs < seeds && (flags.seconds == 0 || spent() < static_cast<double>(flags.seconds)); ++runs) {
    const defib::sim::Options options{
        .seed = flags.seed + runs, .agents = flags.agents, .length = length, .is_verbose = flags.is_verbose};
    defib::sim::Outcome outcome = defib::sim::World(options).run();
    if (outcome.violation) {
      fmt::print(stderr, "{}", defib::sim::failure(outcome));
      return 1;
    }
    agent_hours += static_cast<double>(outcome.options.agents) * std::chrono::duration<double>(length).count() / 3600;
    defib::sim::add(sum, std::move(outcome.tally));
    fmt::print(stderr, "seed {} is well, {:.0f} agent-hours after {:.1f} s\n", options.seed, agent_hours, spent());
  }
  fmt::print("{}  {:<44}{:>16.0f}\n", defib::sim::summary(sum, runs, agent_hours), "agent-hours a minute",
             agent_hours * 60 / spent());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Runs the engine in a pretend world full of faults and holds its promises against the truth.");
  app.add_option("--seed", flags.seed, "the first seed");
  app.add_option("--seeds", flags.seeds, "how many seeds in a row (one, or with --seconds as many as fit)");
  app.add_option("--agents", flags.agents, "how many agents (chosen by the seed)");
  app.add_option("--for", flags.length, "pretend time of one run");
  app.add_option("--seconds", flags.seconds, "begins no further seed after so many real seconds");
  app.add_flag("-v,--verbose", flags.is_verbose, "every effect and fault");
  CLI11_PARSE(app, argc, argv);
  const auto length = defib::parse_duration(flags.length);
  if (!length) {
    fmt::print(stderr, "--for: {}\n", length.error());
    return 2;
  }
  return simulate(flags, length.value());
}
