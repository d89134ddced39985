// defib check-config and version.
#include <fmt/format.h>
#include <ostream>

#include "app/commands.h"
#include "app/config.h"
#include "base/text.h"

namespace defib::app {
namespace {

std::string step_summary(const core::Step& step) {
  if (step.kind == core::StepKind::alert) {
    return step.to.empty() ? "alert all channels" : fmt::format("alert {}", fmt::join(step.to, ", "));
  }
  return fmt::format("{} by {}{}", name(step.kind), step.with,
                     step.attempts == 1 ? "" : fmt::format(" ({} attempts)", step.attempts));
}

std::string ladder_summary(const core::Policy& policy) {
  if (policy.recovery.empty()) return "verdicts only";
  std::string out;
  for (const core::Step& step : policy.recovery) out += (out.empty() ? "" : ", then ") + step_summary(step);
  return policy.mode == core::Mode::observe ? "only says: " + out : out;
}

std::string policy_summary(std::string_view title, const core::Policy& policy) {
  const Duration deadline = policy.interval * policy.missed_beats + core::jitter_grace(policy.interval);
  return fmt::format("{}: failed {} after its last beat ({} x {}); {}\n", title, human_duration(deadline),
                     policy.missed_beats, format_duration(policy.interval), ladder_summary(policy));
}

std::string match_title(std::size_t number, const core::Policy& policy) {
  std::string what;
  if (policy.match_id != "*") what += fmt::format(" id {}", policy.match_id);
  if (policy.match_type != "*") what += fmt::format(" type {}", policy.match_type);
  return safe_text(fmt::format("policy {},{}", number, what.empty() ? " every agent" : what));
}

}  // namespace

int cmd_check_config(const CheckConfigFlags& flags, const Console& console) {
  ConfigReading reading = read_config_file(flags.file);
  if (reading.mistakes.empty()) reading.mistakes = check_config(reading.config);
  for (const ConfigMistake& mistake : reading.mistakes) console.err << mistake_line(flags.file, mistake, "") << '\n';
  for (const ConfigMistake& warning : reading.warnings)
    console.err << mistake_line(flags.file, warning, "warning: ") << '\n';
  if (!reading.mistakes.empty()) {
    console.err << fmt::format("{} mistake{} in {}\n", reading.mistakes.size(), reading.mistakes.size() == 1 ? "" : "s",
                               flags.file);
    return 1;
  }
  const core::Rules& rules = reading.config.rules;
  console.out << fmt::format("{} is good: HTTP on {}, agents on {}, journal in {}\n", flags.file,
                             safe_text(reading.config.http), safe_text(reading.config.agents),
                             safe_text(reading.config.data_dir));
  bool has_catch_all = false;
  for (std::size_t i = 0; i < rules.policies.size(); ++i) {
    const core::Policy& policy = rules.policies[i];
    has_catch_all = has_catch_all || (policy.match_id == "*" && policy.match_type == "*");
    console.out << policy_summary(match_title(i + 1, policy), policy);
  }
  if (!has_catch_all) console.out << policy_summary("the default, all others", core::Policy{});
  std::string channels;
  for (const ChannelConfig& channel : reading.config.channels) {
    channels += fmt::format("{}{} ({})", channels.empty() ? "" : ", ", channel.name, channel.kind);
  }
  console.out << fmt::format("channels: {}\n", channels.empty() ? "none" : channels);
  return 0;
}

int cmd_version(const Console& console) {
  console.out << "defib " DEFIB_VERSION "\n";
  return 0;
}

int say_no(const Console& console, std::string_view message) {
  console.err << "defib: " << safe_text(message) << '\n';
  return 1;
}

}  // namespace defib::app
