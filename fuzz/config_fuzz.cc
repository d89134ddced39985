// The configuration file from any bytes: it never throws, every mistake has a sentence that a terminal can show, and
// what is found to be good is within the ranges that the core relies on.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "app/config.h"
#include "base/check.h"

namespace {

void check_findings(const std::vector<defib::app::ConfigMistake>& findings) {
  DEFIB_CHECK(findings.size() <= 200);
  for (const auto& finding : findings) {
    DEFIB_CHECK(!finding.message.empty());
    DEFIB_CHECK(finding.line == 0 || finding.column > 0);
    for (const char c : finding.message) DEFIB_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
  }
}

void check_policy(const defib::core::Policy& policy) {
  DEFIB_CHECK(policy.interval >= defib::core::kIntervalMin && policy.interval <= defib::core::kIntervalMax);
  DEFIB_CHECK(policy.missed_beats >= 1 && policy.missed_beats <= 100);
  DEFIB_CHECK(policy.limits.recoveries >= 1 && policy.limits.per > defib::Duration::zero());
  DEFIB_CHECK(policy.stall.repeats >= 2);
  for (const auto& step : policy.recovery) {
    DEFIB_CHECK(step.attempts >= 1 && step.attempts <= 20);
    DEFIB_CHECK((step.with == "exec") == !step.command.empty());
    DEFIB_CHECK((step.kind == defib::core::StepKind::alert) == step.with.empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  // One input gives one outcome, whoever runs it.
  ::clearenv();
  ::setenv("NAME", "a value", 1);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto reading = defib::app::read_config(std::string_view(reinterpret_cast<const char*>(data), size));
  check_findings(reading.mistakes);
  check_findings(reading.warnings);
  if (!reading.mistakes.empty()) return 0;
  for (const auto& policy : reading.config.rules.policies) check_policy(policy);
  DEFIB_CHECK(reading.config.channels.size() == reading.config.rules.channels.size());
  DEFIB_CHECK(reading.config.rules.guard.share_percent >= 1 && reading.config.rules.guard.share_percent <= 100);
  return 0;
}
