// What all benches share: the flags, the clocks, and the rows that are reported.
//
// A row is one figure, measured a number of times in one run of the program. Absolute figures belong to the
// machine; ratios were taken side by side in the same run and are what bench/budget.json holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace defib::bench {

struct Options {
  unsigned runs = 5;
  std::uint64_t seed = 1;
  std::string defib = "build/release/defib";
  std::string redis = "redis-server";
  std::string only;  // Part of a bench's name; empty: all.
  std::string budget;
  bool is_json = false;
};

enum class Better : std::uint8_t { lower, higher };

struct Row {
  std::string id;    // "engine.step.10k"; budget.json names it so.
  std::string what;  // For people.
  std::string unit;
  std::vector<double> samples;
  Better better = Better::lower;
  std::optional<double> goal;  // Of the design, where it has one for this row.
};

// Nearest rank: with fewer than a hundred samples p99 is the worst of them.
double median(std::vector<double> samples);
double percentile(std::vector<double> samples, double percent);
double worst(const Row& row);

class Report {
 public:
  explicit Report(Options options) : options_(std::move(options)) {}
  const Options& options() const { return options_; }

  void add(Row row);
  // `numerator` over `denominator`, run by run.
  void add_ratio(std::string id, std::string what, const std::vector<double>& numerator,
                 const std::vector<double>& denominator, Better better = Better::lower,
                 std::optional<double> goal = {});
  std::string text() const;
  std::string json() const;
  // One line for each row that is more than 10 % worse than the file allows, or that it names and nobody measured.
  std::vector<std::string> breaches(const std::string& budget_file) const;

 private:
  Options options_;
  std::vector<Row> rows_;
};

// To stderr, with the seconds since the start.
void progress(std::string_view line);
// Prints to stderr and ends the program with 1: a figure that was measured wrongly is worse than none.
[[noreturn]] void give_up(std::string_view why);

// ns of this thread on a CPU; waiting for one does not count, so neighbours disturb it least.
double thread_cpu_ns();
double wall_ns();
// Of this process, now.
std::size_t rss_bytes();
// Runs `measure` in a forked child, so that it starts from a small heap and leaves none behind. Call it while
// this process has one thread.
double in_child(const std::function<double()>& measure);

}  // namespace defib::bench
