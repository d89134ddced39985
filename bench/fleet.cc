#include "fleet.h"

#include <numeric>

#include "base/prng.h"

namespace defib::bench {
namespace {

constexpr std::string_view kTemplate =
    R"({"agentId":"worker-0000000","agentType":"coder","timestamp":1767225600000,"sequence":1000000000,)"
    R"("status":"healthy","metrics":{"cpuPercent":12.5,"memoryMB":512,"activeTasks":3,"queueDepth":12,)"
    R"("tokensUsedThisHour":48211,"errorsLast5Min":0},"currentTask":"refactor module 0000000 and run its tests",)"
    R"("taskProgress":45,"instanceId":"c0ffee000000000a"})";
constexpr std::size_t kIdDigits = 7;
constexpr std::size_t kIdAt = kTemplate.find("worker-") + 7;
constexpr std::size_t kTaskAt = kTemplate.find("module ") + 7;
constexpr std::size_t kInstanceAt = kTemplate.find("c0ffee") + 8;
constexpr std::size_t kSequenceDigits = 9;  // Behind the leading 1.
constexpr std::size_t kSequenceAt = kTemplate.find("1000000000,") + 1;
constexpr std::size_t kTimestampDigits = 7;  // The last ones.
constexpr std::size_t kTimestampAt = kTemplate.find("1767225600000") + 6;
constexpr std::size_t kPadding = 64;

void write_digits(char* at, std::size_t digits, std::uint64_t number) {
  for (std::size_t i = digits; i-- > 0; number /= 10) at[i] = static_cast<char>('0' + number % 10);
}

}  // namespace

Fleet::Fleet(std::uint32_t agents, std::uint64_t seed) : order_(agents) {
  std::iota(order_.begin(), order_.end(), 0U);
  Prng prng(seed);
  for (std::size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[prng.below(i)]);
}

std::string Fleet::id_of(std::uint32_t agent) {
  std::string id = "worker-0000000";
  write_digits(id.data() + 7, kIdDigits, agent);
  return id;
}

std::size_t Fleet::message_bytes() { return kTemplate.size(); }

void Fleet::append_message(std::string& out, std::uint32_t agent, std::uint64_t round) {
  out.append(kTemplate);
  char* const message = out.data() + out.size() - kTemplate.size();
  write_digits(message + kIdAt, kIdDigits, agent);
  write_digits(message + kTaskAt, kIdDigits, agent);
  write_digits(message + kInstanceAt, kIdDigits, agent);
  patch_round(message, round);
}

void Fleet::patch_round(char* message, std::uint64_t round) {
  write_digits(message + kSequenceAt, kSequenceDigits, round);
  write_digits(message + kTimestampAt, kTimestampDigits, round);
}

void MessageBatch::fill(const Fleet& fleet, std::uint64_t first, std::size_t count) {
  text_.clear();
  text_.reserve(count * Fleet::message_bytes() + kPadding);
  for (std::uint64_t n = first; n < first + count; ++n)
    Fleet::append_message(text_, fleet.agent_at(n), fleet.round_of(n));
  text_.append(kPadding, '\0');
  count_ = count;
}

}  // namespace defib::bench
