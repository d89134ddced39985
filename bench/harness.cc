#include "harness.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fmt/format.h>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include <boost/json.hpp>

namespace defib::bench {
namespace {

// A median this much worse than the budget fails: what two runs on a quiet machine differ by, and more.
constexpr double kTolerance = 0.10;

double read_clock(clockid_t clock) {
  timespec t{};
  if (clock_gettime(clock, &t) != 0) give_up("a clock can't be read");
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown CPU";
}

std::string load_average() {
  std::array<double, 3> load{};
  if (getloadavg(load.data(), 3) < 1) return "unknown";
  return fmt::format("{:.1f}", load[0]);
}

std::string machine() {
  return fmt::format("{}, {} threads, load {}, gcc {}", cpu_model(), std::thread::hardware_concurrency(),
                     load_average(), __VERSION__);
}

std::string figure(double value) {
  const double size = std::abs(value);
  if (size >= 1000) return fmt::format("{:.0f}", value);
  if (size >= 10) return fmt::format("{:.1f}", value);
  return fmt::format("{:.3f}", value);
}

std::string goal_words(const Row& row) {
  if (!row.goal) return "";
  const double found = median(row.samples);
  const bool is_met = row.better == Better::lower ? found <= *row.goal : found >= *row.goal;
  return fmt::format("{} {}{}", row.better == Better::lower ? "at most" : "at least", figure(*row.goal),
                     is_met ? "" : " MISSED");
}

}  // namespace

double percentile(std::vector<double> samples, double percent) {
  if (samples.empty()) give_up("a row without samples");
  std::sort(samples.begin(), samples.end());
  const double rank = std::ceil(percent / 100 * static_cast<double>(samples.size()));
  return samples[static_cast<std::size_t>(std::max(1.0, rank)) - 1];
}

double median(std::vector<double> samples) { return percentile(std::move(samples), 50); }

double worst(const Row& row) {
  if (row.better == Better::lower) return percentile(row.samples, 99);
  return percentile(row.samples, 1);
}

void Report::add(Row row) {
  progress(fmt::format("{}: {} {}", row.id, figure(median(row.samples)), row.unit));
  rows_.push_back(std::move(row));
}

void Report::add_ratio(std::string id, std::string what, const std::vector<double>& numerator,
                       const std::vector<double>& denominator, Better better, std::optional<double> goal) {
  if (numerator.size() != denominator.size()) give_up("a ratio of unlike rows");
  std::vector<double> ratios;
  for (std::size_t i = 0; i < numerator.size(); ++i) ratios.push_back(numerator[i] / denominator[i]);
  add({std::move(id), std::move(what), "x", std::move(ratios), better, goal});
}

std::string Report::text() const {
  std::string out =
      fmt::format("machine: {}\nseed {}, {} runs; p99 is the worst where there are fewer than 100 samples\n\n",
                  machine(), options_.seed, options_.runs);
  out += fmt::format("{:<34} {:>10} {:>10} {:<10} {:<18} {}\n", "row", "median", "p99", "unit", "goal", "what");
  for (const Row& row : rows_) {
    out += fmt::format("{:<34} {:>10} {:>10} {:<10} {:<18} {}\n", row.id, figure(median(row.samples)),
                       figure(worst(row)), row.unit, goal_words(row), row.what);
  }
  return out;
}

std::string Report::json() const {
  boost::json::array rows;
  for (const Row& row : rows_) {
    boost::json::object out{
        {"id", row.id},      {"what", row.what},
        {"unit", row.unit},  {"median", median(row.samples)},
        {"p99", worst(row)}, {"samples", boost::json::array(row.samples.begin(), row.samples.end())}};
    if (row.goal) out["goal"] = *row.goal;
    rows.push_back(std::move(out));
  }
  return boost::json::serialize(boost::json::object{
      {"machine", machine()}, {"seed", options_.seed}, {"runs", options_.runs}, {"rows", std::move(rows)}});
}

std::vector<std::string> Report::breaches(const std::string& budget_file) const {
  std::ifstream file(budget_file);
  std::stringstream text;
  text << file.rdbuf();
  boost::system::error_code error;
  const boost::json::value budget = boost::json::parse(text.str(), error);
  if (error || !budget.is_object()) give_up(fmt::format("{} is no budget: {}", budget_file, error.message()));
  std::vector<std::string> out;
  for (const auto& [id, value] : budget.get_object()) {
    const auto row =
        std::find_if(rows_.begin(), rows_.end(), [&](const Row& r) { return r.id == std::string_view(id); });
    if (row == rows_.end()) {
      out.push_back(fmt::format("{} was not measured", std::string_view(id)));
      continue;
    }
    const double allowed = value.to_number<double>();
    const double found = median(row->samples);
    const bool is_lower = row->better == Better::lower;
    if (is_lower ? found <= allowed * (1 + kTolerance) : found >= allowed * (1 - kTolerance)) continue;
    out.push_back(fmt::format("{} is {} {}; the budget is {} {}", row->id, figure(found), row->unit,
                              is_lower ? "at most" : "at least", figure(allowed)));
  }
  return out;
}

void progress(std::string_view line) {
  static const double start = wall_ns();
  fmt::print(stderr, "[{:6.1f} s] {}\n", (wall_ns() - start) / 1e9, line);
}

void give_up(std::string_view why) {
  fmt::print(stderr, "defib_bench: {}\n", why);
  std::exit(1);
}

double thread_cpu_ns() { return read_clock(CLOCK_THREAD_CPUTIME_ID); }
double wall_ns() { return read_clock(CLOCK_MONOTONIC); }

std::size_t rss_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t all_pages = 0;
  std::size_t resident_pages = 0;
  file >> all_pages >> resident_pages;
  return resident_pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

double in_child(const std::function<double()>& measure) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) give_up("no pipe");
  const pid_t child = fork();
  if (child < 0) give_up("no child");
  if (child == 0) {
    const double found = measure();
    const bool is_written = write(ends[1], &found, sizeof found) == sizeof found;
    _exit(is_written ? 0 : 1);
  }
  close(ends[1]);
  double found = 0;
  const bool is_read = read(ends[0], &found, sizeof found) == sizeof found;
  close(ends[0]);
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0 || !is_read) give_up("a measuring child failed");
  return found;
}

}  // namespace defib::bench
