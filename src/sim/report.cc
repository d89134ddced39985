#include "sim/report.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <variant>

#include "base/text.h"

namespace defib::sim {
namespace {

// FNV-1a (Fowler, Noll, Vo), 64 bits: enough to tell two runs apart.
constexpr std::uint64_t kPrime = 0x100000001b3;

void mix(std::uint64_t& hash, std::uint64_t number) {
  for (int i = 0; i < 8; ++i) hash = (hash ^ ((number >> (8 * i)) & 0xff)) * kPrime;
}

void mix(std::uint64_t& hash, std::string_view text) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * kPrime;
  mix(hash, text.size());
}

std::string percentile(const std::vector<std::int64_t>& sorted, std::size_t per_thousand) {
  if (sorted.empty()) return "-";
  const std::size_t at = std::min(sorted.size() - 1, sorted.size() * per_thousand / 1000);
  return fmt::format("{:.3f} ms", static_cast<double>(sorted[at]) / 1000.0);
}

}  // namespace

std::string effect_line(const core::Effect& effect) {
  if (const auto* line = std::get_if<core::Announce>(&effect)) {
    return fmt::format("{} {} {}: {}", name(line->record.kind), line->record.agent_id, line->record.what,
                       line->record.text);
  }
  if (const auto* action = std::get_if<core::PerformAction>(&effect)) {
    return fmt::format("act {}.{} {} {} {} {}", action->incident, action->attempt, name(action->step.kind),
                       action->step.with, action->agent_id, action->instance_id);
  }
  if (const auto* sent = std::get_if<core::SendCommand>(&effect)) {
    return fmt::format("command {} {} {} {}", sent->command, sent->agent_id, sent->instance_id, sent->restarts);
  }
  if (const auto* notice = std::get_if<core::SendNotice>(&effect)) {
    return fmt::format("notice {} {} {} incident {}", notice->notice.id, notice->notice.channel,
                       name(notice->notice.status), notice->notice.incident);
  }
  if (const auto* persist = std::get_if<core::Persist>(&effect); persist != nullptr && persist->token != 0) {
    return fmt::format("persist token {}", persist->token);
  }
  return "";
}

void hash_effect(const core::Effect& effect, Instant at, std::uint64_t& hash) {
  mix(hash, static_cast<std::uint64_t>(at.time_since_epoch().count()));
  mix(hash, effect.index());
  mix(hash, effect_line(effect));
}

void add(Tally& sum, Tally&& run) {
  sum.beats += run.beats;
  sum.deaths += run.deaths;
  sum.verdicts += run.verdicts;
  sum.attempts += run.attempts;
  sum.recoveries += run.recoveries;
  sum.notices += run.notices;
  sum.faults += run.faults;
  sum.unheard += run.unheard;
  sum.incidents += run.incidents;
  mix(sum.effects_hash, run.effects_hash);
  std::ranges::move(run.lateness_us, std::back_inserter(sum.lateness_us));
}

std::string summary(Tally& tally, std::uint64_t runs, double agent_hours) {
  std::ranges::sort(tally.lateness_us);
  std::string text;
  const auto row = [&](std::string_view what, const std::string& value) {
    text += fmt::format("  {:<44}{:>16}\n", what, value);
  };
  row("runs", fmt::format("{}", runs));
  row("agent-hours", fmt::format("{:.0f}", agent_hours));
  row("beats heard", fmt::format("{}", tally.beats));
  row("faults", fmt::format("{}", tally.faults));
  row("deaths", fmt::format("{}", tally.deaths));
  row("verdicts `failed`", fmt::format("{}", tally.verdicts));
  row("  of them alive, but no beat came through", fmt::format("{}", tally.unheard));
  row("incidents", fmt::format("{}", tally.incidents));
  row("attempts", fmt::format("{}", tally.attempts));
  row("incidents that ended verified", fmt::format("{}", tally.recoveries));
  row("notices delivered", fmt::format("{}", tally.notices));
  row("verdict behind its deadline, median", percentile(tally.lateness_us, 500));
  row("  99 of 100", percentile(tally.lateness_us, 990));
  row("  at most", percentile(tally.lateness_us, 1000));
  row("living agents recovered", "0");
  row("hash of all effects", fmt::format("{:016x}", tally.effects_hash));
  return text;
}

std::string failure(const Outcome& outcome) {
  std::string text = "the last effects:\n";
  for (const std::string& line : outcome.last_effects) text += "  " + line + "\n";
  text += "the last faults:\n";
  for (const std::string& line : outcome.last_faults) text += "  " + line + "\n";
  text += fmt::format("broken promise: {}\n  {}\nsee it again: defib_sim --seed {} --agents {} --for {} -v\n",
                      outcome.violation->promise, outcome.violation->text, outcome.options.seed, outcome.options.agents,
                      format_duration(outcome.options.length));
  return text;
}

}  // namespace defib::sim
