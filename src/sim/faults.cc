#include "sim/faults.h"

#include <array>
#include <fmt/format.h>

#include "base/text.h"

namespace defib::sim {
namespace {

// How often, how long (seconds) and how much: a row a kind, in the order of the enumeration.
struct Row {
  std::string_view name;
  std::uint32_t weight;
  std::int64_t length_min;
  std::int64_t length_max;
  std::int64_t amount_min;
  std::int64_t amount_max;
};
constexpr std::array<Row, kFaultKindCount> kRows = {{
    {"crash", 220, 0, 0, 0, 0},
    {"freeze", 90, 5, 900, 0, 0},
    {"clean_stop", 60, 60, 7200, 0, 0},
    {"redeploy", 50, 0, 0, 0, 0},
    {"outside_restart", 50, 0, 0, 0, 0},
    {"clock_jump", 40, 0, 0, -7200, 7200},
    {"interval_change", 30, 0, 0, 0, 0},
    {"replay", 60, 0, 0, 1, 12},
    {"twin", 15, 60, 1200, 0, 0},
    {"failure_report", 20, 0, 0, 0, 0},
    {"mass_crash", 6, 0, 0, 10, 100},
    {"partition", 6, 30, 600, 0, 0},
    {"redis_outage", 15, 5, 1200, 0, 0},
    {"broker_restart", 10, 0, 0, 0, 0},
    {"scripts_fail", 8, 60, 1800, 0, 0},
    {"scripts_lie", 8, 60, 1800, 0, 0},
    {"scripts_hang", 6, 60, 900, 0, 0},
    {"channels_fail", 8, 10, 1800, 0, 0},
    {"monitor_pause", 20, 1, 400, 0, 0},
    {"monitor_crash", 25, 1, 300, 0, 0},
    {"journal_unwritable", 8, 5, 600, 0, 0},
    {"operator_recovers", 10, 0, 0, 0, 0},
    {"operator_closes", 15, 0, 0, 0, 0},
    {"operator_acknowledges", 10, 0, 0, 0, 0},
}};

constexpr std::uint32_t weight_sum() {
  std::uint32_t sum = 0;
  for (const Row& row : kRows) sum += row.weight;
  return sum;
}

}  // namespace

std::string_view name(FaultKind kind) { return kRows[static_cast<std::size_t>(kind)].name; }

std::string print(const Fault& fault, Instant start) {
  std::string line = fmt::format("{:>9.3f} s  {} target {}", static_cast<double>(to_ms(fault.at - start)) / 1000.0,
                                 name(fault.kind), fault.target);
  if (fault.length > 0s) line += fmt::format(" for {}", human_duration(fault.length));
  if (fault.amount != 0) line += fmt::format(" amount {}", fault.amount);
  return line;
}

FaultPlan::FaultPlan(std::uint64_t seed, std::uint32_t agents, Duration mean_pause)
    : prng_(seed), agents_(agents), mean_pause_(mean_pause) {}

FaultKind FaultPlan::choose() {
  std::uint64_t dice = prng_.below(weight_sum());
  std::size_t kind = 0;
  while (dice >= kRows[kind].weight) dice -= kRows[kind++].weight;
  return static_cast<FaultKind>(kind);
}

Fault FaultPlan::next(Instant now) {
  Fault fault;
  // Uniform between nothing and twice the mean: bursts and quiet times without logarithms.
  fault.at = now + 1ms + Duration(prng_.between(0, 2 * mean_pause_.count()));
  fault.kind = choose();
  const Row& row = kRows[static_cast<std::size_t>(fault.kind)];
  fault.target = static_cast<std::uint32_t>(prng_.below(agents_));
  fault.length = from_ms(prng_.between(row.length_min * 1000, row.length_max * 1000));
  fault.amount = prng_.between(row.amount_min, row.amount_max);
  return fault;
}

}  // namespace defib::sim
