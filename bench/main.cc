// defib_bench: the figures of docs/benchmarks.md, measured side by side in one run.
#include <array>
#include <cstdio>
#include <fmt/format.h>
#include <string>
#include <sys/resource.h>
#include <vector>

#include <CLI/CLI.hpp>

#include "benches.h"

namespace {

// Two thousand connections are more than the usual soft limit allows.
void allow_many_connections() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace defib::bench;
  struct Bench {
    std::string_view name;
    void (*run)(Report&);
  };
  // Memory first: it forks.
  static constexpr std::array<Bench, 6> kBenches = {{{"memory", bench_memory},
                                                     {"beats", bench_beats},
                                                     {"silence", bench_silence},
                                                     {"lateness", bench_lateness},
                                                     {"endpoint", bench_endpoint},
                                                     {"health", bench_health}}};
  Options options;
  CLI::App app("Measures defib against a bare loop and against Redis. Example: defib_bench --only beats --runs 10");
  app.add_option("--runs", options.runs, "samples of each repeated row")
      ->check(CLI::Range(1U, 100U))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "of the made-up fleet")->capture_default_str();
  app.add_option("--only", options.only, "benches whose name has this: memory beats silence lateness endpoint health");
  app.add_option("--defib", options.defib, "the monitor to measure")->capture_default_str();
  app.add_option("--redis", options.redis, "the redis-server to measure against")->capture_default_str();
  app.add_option("--budget", options.budget, "a JSON object of row and bound; exit 1 where a row is 10 % worse");
  app.add_flag("--json", options.is_json, "print JSON");
  CLI11_PARSE(app, argc, argv);

  allow_many_connections();
  Report report(options);
  for (const Bench& bench : kBenches) {
    if (bench.name.find(options.only) != std::string_view::npos) bench.run(report);
  }
  fmt::print("{}\n", options.is_json ? report.json() : report.text());
  if (options.budget.empty()) return 0;
  const std::vector<std::string> breaches = report.breaches(options.budget);
  for (const std::string& breach : breaches) fmt::print(stderr, "over budget: {}\n", breach);
  return breaches.empty() ? 0 : 1;
}
