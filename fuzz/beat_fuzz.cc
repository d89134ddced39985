// Any bytes as a heartbeat.
//
// What the codec takes is within every stated bound, its text is UTF-8, and a strict JSON parser takes it too:
// simdjson's on-demand front end, which the codec is made of, skips without a look what nobody reads.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <memory_resource>
#include <string_view>

#include <boost/json.hpp>

#include "base/check.h"
#include "base/ids.h"
#include "ingest/beat_codec.h"

namespace {

using namespace defib;

bool is_strict_json(std::string_view text) {
  boost::json::parse_options options;
  options.max_depth = ingest::kDepthMax + 1;
  boost::system::error_code error;
  boost::json::parse({text.data(), text.size()}, error, {}, options);
  return !error;
}

// Reads every byte, so that a view into freed memory is seen, and lets a JSON parser judge the UTF-8.
void check_text(std::string_view text, std::size_t bytes_max) {
  DEFIB_CHECK(text.size() <= bytes_max);
  const boost::json::string copy(text.data(), text.size());
  DEFIB_CHECK(is_strict_json(boost::json::serialize(copy)));
}

void check_metrics(const core::Metrics& metrics) {
  for (const double value : {metrics.cpu_percent, metrics.memory_mb, metrics.active_tasks, metrics.queue_depth,
                             metrics.tokens_used_this_hour, metrics.errors_last_5_min}) {
    DEFIB_CHECK(value >= 0 && value <= ingest::kMetricMax);
  }
}

void check_beat(const core::Beat& beat) {
  DEFIB_CHECK(is_valid_agent_id(beat.agent_id));
  check_text(beat.agent_type, ingest::kTypeBytesMax);
  check_text(beat.instance_id, ingest::kInstanceIdBytesMax);
  check_text(beat.host, ingest::kHostBytesMax);
  check_text(beat.stack, ingest::kStackBytesMax);
  check_text(beat.refusal, 1024);
  DEFIB_CHECK(beat.pid >= 0);
  DEFIB_CHECK(!beat.sequence || *beat.sequence <= static_cast<std::uint64_t>(ingest::kSequenceMax));
  DEFIB_CHECK(!beat.interval_ms ||
              (from_ms(*beat.interval_ms) >= core::kIntervalMin && from_ms(*beat.interval_ms) <= core::kIntervalMax));
  DEFIB_CHECK(!beat.task_progress || (*beat.task_progress >= 0 && *beat.task_progress <= 100));
  DEFIB_CHECK(!beat.timestamp_ms || *beat.timestamp_ms > 0);
  if (beat.metrics) check_metrics(*beat.metrics);
  if (beat.current_task) check_text(*beat.current_task, core::kTaskBytesMax);
  DEFIB_CHECK(beat.labels.size() <= core::kLabelsMax);
  for (const core::Label& label : beat.labels) {
    // A message that is refused may hold a key that is too long; nothing of it is used.
    if (beat.refusal.empty()) check_text(label.first, ingest::kLabelKeyBytesMax);
    check_text(label.second, ingest::kLabelValueBytesMax);
  }
  if (beat.activity) {
    check_text(beat.activity->operation, core::kTaskBytesMax);
    DEFIB_CHECK(!beat.activity->for_ms || from_ms(*beat.activity->for_ms) >= Duration::zero());
  }
  if (beat.progress) {
    check_text(beat.progress->action, core::kTaskBytesMax);
    DEFIB_CHECK(beat.progress->recent.size() <= core::kRecentDigestsMax);
  }
  DEFIB_CHECK(beat.capsule.size() <= core::kCapsuleBytesMax);
  if (beat.exit) {
    check_text(beat.exit->output_tail, core::kOutputTailBytesMax);
    DEFIB_CHECK(beat.exit->code >= 0 && beat.exit->code <= 255);
    DEFIB_CHECK(beat.exit->signal >= 0 && beat.exit->signal <= 127);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // One codec for all inputs, as in the monitor: what one message leaves behind must not change the next.
  static ingest::BeatCodec codec;
  // A copy of the exact size, so that a step past it is seen.
  const auto message = std::make_unique<char[]>(size);
  std::memcpy(message.get(), data, size);
  const std::string_view json(message.get(), size);
  std::pmr::monotonic_buffer_resource arena;
  const Result<core::Beat> beat = codec.decode(json, arena);
  if (!beat) {
    DEFIB_CHECK(!beat.error().empty() && beat.error().size() <= 1024);
    return 0;
  }
  DEFIB_CHECK(size <= core::kBeatBytesMax);
  DEFIB_CHECK(is_strict_json(json));
  check_beat(beat.value());
  return 0;
}
