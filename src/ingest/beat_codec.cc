#include "ingest/beat_codec.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <optional>
#include <string>

#include "base/ids.h"
#include "ingest/checked_json.h"

namespace defib::ingest {
namespace {

using core::Beat;

// 2001-01-01 and 2200-01-01, in ms since 1970: a clock outside them was never set, or counts in another unit.
constexpr double kTimestampMinMs = 978'307'200'000;
constexpr double kTimestampMaxMs = 7'258'118'400'000;
// A hold is capped by the policy anyway; a year keeps sums of durations far from overflow.
constexpr double kHoldMaxMs = 366.0 * 24 * 3600 * 1000;
constexpr std::int64_t kPidMax = 2'147'483'647;
constexpr std::int64_t kSpentMax = 1'000'000;
constexpr std::size_t kDigestDigits = 16;

// At most `bytes_max` from the end of `text`, never beginning within a UTF-8 character.
std::string_view clip_front(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  text.remove_prefix(text.size() - bytes_max);
  while (!text.empty() && (static_cast<unsigned char>(text.front()) & 0xC0U) == 0x80U) text.remove_prefix(1);
  return text;
}

constexpr std::array<std::int8_t, 256> kSextets = [] {
  std::array<std::int8_t, 256> values{};
  values.fill(-1);
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < kAlphabet.size(); ++i) {
    values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::int8_t>(i);
  }
  return values;
}();

std::size_t base64_padding(std::string_view text) { return text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0; }

// RFC 4648, section 4, padded and canonical, so that one capsule has one spelling. `out` has room for
// text.size() / 4 * 3 bytes. False for anything else.
bool decode_base64(std::string_view text, char* out) {
  if (text.size() % 4 != 0) return false;
  text.remove_suffix(base64_padding(text));
  std::uint32_t held = 0;
  unsigned held_bits = 0;
  for (const char c : text) {
    const std::int8_t sextet = kSextets[static_cast<unsigned char>(c)];
    if (sextet < 0) return false;
    held = (held << 6) | static_cast<std::uint32_t>(sextet);
    held_bits += 6;
    if (held_bits < 8) continue;
    held_bits -= 8;
    *out++ = static_cast<char>((held >> held_bits) & 0xFFU);
  }
  return (held & ((1U << held_bits) - 1)) == 0;
}

template <typename Enum>
std::optional<Enum> by_name(std::string_view word, Enum last) {
  for (int i = 0; i <= static_cast<int>(last); ++i) {
    if (core::name(static_cast<Enum>(i)) == word) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

// One message on its way through. Its functions return false once the message is refused as a whole.
class Message {
 public:
  Message(std::pmr::memory_resource& arena, CodecCounters& counters) : in_(arena, counters) {}

  [[nodiscard]] bool read(od::document& document);
  const Beat& beat() const { return beat_; }
  std::string take_error() { return in_.take_error(); }

 private:
  // A known field: its path for people, its key, and who reads it.
  struct Field {
    using Take = bool (Message::*)(std::string_view path, od::value&);
    constexpr Field(std::string_view a_path, Take a_take)
        : path(a_path), key(path.substr(path.rfind('.') + 1)), take(a_take) {}
    std::string_view path;
    std::string_view key;
    Take take;
  };
  static const std::array<Field, 20> kBeatFields;
  static const std::array<Field, 6> kMetricsFields;
  static const std::array<Field, 3> kActivityFields;
  static const std::array<Field, 4> kProgressFields;
  static const std::array<Field, 1> kRunnerFields;
  static const std::array<Field, 5> kExitFields;

  template <typename Table>
  bool fields(od::object& object, const Table& table) {
    return in_.each_field(object, table,
                          [this](const Field& field, od::value& v) { return (this->*field.take)(field.path, v); });
  }
  template <typename Table>
  bool part(std::string_view path, od::value& value, const Table& table, bool& is_present);
  bool moment(std::string_view path, od::value& value, std::optional<std::int64_t>& out);
  bool digest(std::string_view path, std::string_view text, std::uint64_t& out);
  bool label(std::string_view key, od::value& value, std::array<core::Label, core::kLabelsMax>& labels,
             std::size_t& count);

  bool take_agent_id(std::string_view path, od::value& value);
  bool take_sequence(std::string_view path, od::value& value);
  bool take_instance_id(std::string_view path, od::value& value);
  bool take_status(std::string_view path, od::value& value);
  bool take_metrics(std::string_view path, od::value& value);
  template <double core::Metrics::*Member>
  bool take_metric(std::string_view path, od::value& value);
  bool take_task(std::string_view path, od::value& value);
  bool take_task_progress(std::string_view path, od::value& value);
  bool take_interval(std::string_view path, od::value& value);
  bool take_pid(std::string_view path, od::value& value);
  bool take_labels(std::string_view path, od::value& value);
  bool take_activity(std::string_view path, od::value& value);
  bool take_activity_kind(std::string_view path, od::value& value);
  bool take_for_ms(std::string_view path, od::value& value);
  bool take_progress(std::string_view path, od::value& value);
  bool take_digest(std::string_view path, od::value& value);
  bool take_recent(std::string_view path, od::value& value);
  bool take_capsule(std::string_view path, od::value& value);
  bool take_exit(std::string_view path, od::value& value);
  bool take_output(std::string_view path, od::value& value);

  bool take_type(std::string_view p, od::value& v) { return in_.word(p, v, kTypeBytesMax, beat_.agent_type); }
  bool take_host(std::string_view p, od::value& v) { return in_.word(p, v, kHostBytesMax, beat_.host); }
  bool take_stack(std::string_view p, od::value& v) { return in_.prose(p, v, kStackBytesMax, beat_.stack); }
  bool take_timestamp(std::string_view p, od::value& v) { return moment(p, v, beat_.timestamp_ms); }
  bool take_started_at(std::string_view p, od::value& v) { return moment(p, v, beat_.started_at_ms); }
  bool take_operation(std::string_view p, od::value& v) {
    return in_.prose(p, v, core::kTaskBytesMax, activity_.operation);
  }
  bool take_seq(std::string_view p, od::value& v) { return in_.whole(p, v, kSequenceMax, progress_seq_); }
  bool take_action(std::string_view p, od::value& v) { return in_.prose(p, v, core::kTaskBytesMax, progress_.action); }
  bool take_runner(std::string_view p, od::value& v) { return part(p, v, kRunnerFields, beat_.is_runner); }
  bool take_version(std::string_view p, od::value& v) { return in_.word(p, v, kTypeBytesMax, runner_version_); }
  bool take_code(std::string_view p, od::value& v) { return in_.whole(p, v, 255, exit_code_); }
  bool take_signal(std::string_view p, od::value& v) { return in_.whole(p, v, 127, exit_signal_); }
  bool take_restarted(std::string_view p, od::value& v) { return in_.boolean(p, v, exit_.is_restarted); }
  bool take_spent(std::string_view p, od::value& v) { return in_.whole(p, v, kSpentMax, exit_spent_); }

  CheckedJson in_;
  Beat beat_;
  // Parts of the beat while they are read.
  core::Metrics metrics_;
  Beat::Activity activity_;
  bool has_activity_kind_ = false;
  Beat::Progress progress_;
  std::optional<std::int64_t> progress_seq_;
  core::Exit exit_;
  std::optional<std::int64_t> exit_code_;
  std::optional<std::int64_t> exit_signal_;
  std::optional<std::int64_t> exit_spent_;
  std::string_view runner_version_;  // Checked, not shown yet.
};

// In the order in which the guide's client, and then ours, write them: see CheckedJson::each_field().
constexpr std::array<Message::Field, 20> Message::kBeatFields = {{{"agentId", &Message::take_agent_id},
                                                                  {"agentType", &Message::take_type},
                                                                  {"timestamp", &Message::take_timestamp},
                                                                  {"sequence", &Message::take_sequence},
                                                                  {"status", &Message::take_status},
                                                                  {"metrics", &Message::take_metrics},
                                                                  {"currentTask", &Message::take_task},
                                                                  {"taskProgress", &Message::take_task_progress},
                                                                  {"intervalMs", &Message::take_interval},
                                                                  {"instanceId", &Message::take_instance_id},
                                                                  {"startedAt", &Message::take_started_at},
                                                                  {"host", &Message::take_host},
                                                                  {"pid", &Message::take_pid},
                                                                  {"labels", &Message::take_labels},
                                                                  {"activity", &Message::take_activity},
                                                                  {"progress", &Message::take_progress},
                                                                  {"capsule", &Message::take_capsule},
                                                                  {"stack", &Message::take_stack},
                                                                  {"runner", &Message::take_runner},
                                                                  {"exit", &Message::take_exit}}};
constexpr std::array<Message::Field, 6> Message::kMetricsFields = {
    {{"metrics.cpuPercent", &Message::take_metric<&core::Metrics::cpu_percent>},
     {"metrics.memoryMB", &Message::take_metric<&core::Metrics::memory_mb>},
     {"metrics.activeTasks", &Message::take_metric<&core::Metrics::active_tasks>},
     {"metrics.queueDepth", &Message::take_metric<&core::Metrics::queue_depth>},
     {"metrics.tokensUsedThisHour", &Message::take_metric<&core::Metrics::tokens_used_this_hour>},
     {"metrics.errorsLast5Min", &Message::take_metric<&core::Metrics::errors_last_5_min>}}};
constexpr std::array<Message::Field, 3> Message::kActivityFields = {{{"activity.kind", &Message::take_activity_kind},
                                                                     {"activity.operation", &Message::take_operation},
                                                                     {"activity.forMs", &Message::take_for_ms}}};
constexpr std::array<Message::Field, 4> Message::kProgressFields = {{{"progress.seq", &Message::take_seq},
                                                                     {"progress.action", &Message::take_action},
                                                                     {"progress.digest", &Message::take_digest},
                                                                     {"progress.recent", &Message::take_recent}}};
constexpr std::array<Message::Field, 1> Message::kRunnerFields = {{{"runner.version", &Message::take_version}}};
constexpr std::array<Message::Field, 5> Message::kExitFields = {{{"exit.code", &Message::take_code},
                                                                 {"exit.signal", &Message::take_signal},
                                                                 {"exit.output", &Message::take_output},
                                                                 {"exit.restarted", &Message::take_restarted},
                                                                 {"exit.spent", &Message::take_spent}}};

bool Message::read(od::document& document) {
  od::object object;
  const simdjson::error_code code = document.get_object().get(object);
  if (code == simdjson::INCORRECT_TYPE) return in_.fail("the message is not a JSON object");
  if (code != simdjson::SUCCESS) return in_.broken(code);
  if (!fields(object, kBeatFields)) return false;
  if (document.current_location().error() != simdjson::OUT_OF_BOUNDS) {
    return in_.fail("broken JSON: something follows the object");
  }
  if (beat_.agent_id.empty()) return in_.fail("agentId is missing: {}", kAgentIdRule);
  beat_.refusal = in_.refusal();
  return true;
}

// An object inside the message, with fields of its own.
template <typename Table>
bool Message::part(std::string_view path, od::value& value, const Table& table, bool& is_present) {
  if (!in_.is_of_type(path, value, od::json_type::object, "an object", is_present)) return false;
  if (!is_present) return true;
  od::object object;
  if (const auto code = value.get_object().get(object)) return in_.broken(code);
  return fields(object, table);
}

bool Message::moment(std::string_view path, od::value& value, std::optional<std::int64_t>& out) {
  std::optional<double> ms;
  if (!in_.number(path, value, "a number of ms since 1970", ms)) return false;
  if (!ms) return true;
  if (*ms >= kTimestampMinMs && *ms <= kTimestampMaxMs) {
    out = static_cast<std::int64_t>(std::floor(*ms));
  } else {
    ++in_.counters().timestamp_ignored;
  }
  return true;
}

bool Message::digest(std::string_view path, std::string_view text, std::uint64_t& out) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, out, 16);
  const bool is_hex = text.size() == kDigestDigits && error == std::errc() && stop == end;
  if (!is_hex) in_.refuse("{} holds {}; expected {} hex digits", path, quoted(text), kDigestDigits);
  return is_hex;
}

// ---- Identity: what is wrong here refuses the whole message -----------------------------------------

bool Message::take_agent_id(std::string_view path, od::value& value) {
  od::json_type type{};
  if (!in_.peek(value, type)) return false;
  if (type != od::json_type::string) return in_.fail("{} is {}: {}", path, kind_of(type), kAgentIdRule);
  std::string_view id;
  if (!in_.string(value, id)) return false;
  if (!is_valid_agent_id(id)) return in_.fail("{} is {}: {}", path, quoted(id), kAgentIdRule);
  beat_.agent_id = in_.keep(id);
  return true;
}

bool Message::take_sequence(std::string_view path, od::value& value) {
  od::json_type type{};
  if (!in_.peek(value, type)) return false;
  if (type == od::json_type::null) return in_.walk(value, 2);
  if (type != od::json_type::number) return in_.fail("{} is {}; expected an integer", path, kind_of(type));
  std::optional<std::int64_t> sequence;
  const auto on_bad = [&](auto found) {
    return in_.fail("{} is {}; expected an integer from 0 to {}", path, found, kSequenceMax);
  };
  if (!in_.integer(value, kSequenceMax, sequence, on_bad)) return false;
  beat_.sequence = static_cast<std::uint64_t>(*sequence);
  return true;
}

bool Message::take_instance_id(std::string_view path, od::value& value) {
  od::json_type type{};
  if (!in_.peek(value, type)) return false;
  if (type == od::json_type::null) return in_.walk(value, 2);
  if (type != od::json_type::string) return in_.fail("{} is {}; expected a string", path, kind_of(type));
  std::string_view id;
  if (!in_.string(value, id)) return false;
  if (id.size() > kInstanceIdBytesMax) {
    return in_.fail("{} has {} bytes; expected at most {}", path, id.size(), kInstanceIdBytesMax);
  }
  if (has_control(id)) return in_.fail("{} is {}; expected no control characters", path, quoted(id));
  beat_.instance_id = in_.keep(id);
  return true;
}

// ---- What the agent says of itself ------------------------------------------------------------------

bool Message::take_status(std::string_view path, od::value& value) {
  std::optional<std::string_view> word;
  if (!in_.text(path, value, word)) return false;
  if (!word) return true;
  if (const auto status = by_name(*word, core::Status::stopped)) {
    beat_.status = *status;
  } else {
    in_.refuse("{} is {}; expected healthy, degraded, busy, recovering or stopped", path, quoted(*word));
  }
  return true;
}

bool Message::take_metrics(std::string_view path, od::value& value) {
  bool is_present = false;
  if (!part(path, value, kMetricsFields, is_present)) return false;
  if (is_present) beat_.metrics = metrics_;
  return true;
}

template <double core::Metrics::*Member>
bool Message::take_metric(std::string_view path, od::value& value) {
  std::optional<double> found;
  if (!in_.number(path, value, "a number", found)) return false;
  if (!found) return true;
  if (*found >= 0 && *found <= kMetricMax) {
    metrics_.*Member = *found;
  } else {
    in_.refuse("{} is {}; expected a number from 0 to {}", path, *found, kMetricMax);
  }
  return true;
}

bool Message::take_task(std::string_view path, od::value& value) {
  std::string_view task;
  if (!in_.prose(path, value, core::kTaskBytesMax, task)) return false;
  if (!task.empty()) beat_.current_task = task;
  return true;
}

bool Message::take_task_progress(std::string_view path, od::value& value) {
  std::optional<double> found;
  if (!in_.number(path, value, "a number from 0 to 100", found)) return false;
  if (!found) return true;
  if (*found >= 0 && *found <= 100) {
    beat_.task_progress = *found;
  } else {
    in_.refuse("{} is {}; expected a number from 0 to 100", path, *found);
  }
  return true;
}

bool Message::take_interval(std::string_view path, od::value& value) {
  std::optional<double> ms;
  if (!in_.number(path, value, "a number of ms", ms)) return false;
  if (!ms) return true;
  if (*ms >= static_cast<double>(to_ms(core::kIntervalMin)) && *ms <= static_cast<double>(to_ms(core::kIntervalMax))) {
    beat_.interval_ms = static_cast<std::int64_t>(std::floor(*ms));
  } else {
    ++in_.counters().interval_ignored;
  }
  return true;
}

bool Message::take_pid(std::string_view path, od::value& value) {
  std::optional<std::int64_t> pid;
  if (!in_.whole(path, value, kPidMax, pid)) return false;
  beat_.pid = pid.value_or(0);
  return true;
}

bool Message::take_labels(std::string_view path, od::value& value) {
  bool is_present = false;
  if (!in_.is_of_type(path, value, od::json_type::object, "an object of strings", is_present)) return false;
  if (!is_present) return true;
  od::object object;
  if (const auto code = value.get_object().get(object)) return in_.broken(code);
  std::array<core::Label, core::kLabelsMax> labels;
  std::size_t count = 0;
  const auto take = [&](std::string_view key, od::value& v) { return label(key, v, labels, count); };
  if (!in_.each_pair(object, take)) return false;
  beat_.labels = in_.keep_all(std::span<const core::Label>(labels.data(), count));
  return true;
}

bool Message::label(std::string_view key, od::value& value, std::array<core::Label, core::kLabelsMax>& labels,
                    std::size_t& count) {
  const auto end = labels.begin() + static_cast<std::ptrdiff_t>(count);
  const auto is_same = [&](const core::Label& known) { return known.first == key; };
  if (std::any_of(labels.begin(), end, is_same)) {
    return in_.fail("label {} stands twice in the message; expected once", quoted(key));
  }
  od::json_type type{};
  if (!in_.peek(value, type)) return false;
  if (type == od::json_type::null) return in_.walk(value, 3);
  if (count == labels.size()) {
    in_.refuse("labels has more entries than {}", core::kLabelsMax);
    return in_.walk(value, 3);
  }
  if (key.empty() || key.size() > kLabelKeyBytesMax || has_control(key)) {
    in_.refuse("labels has the key {}; expected 1 to {} bytes without control characters", quoted(key),
               kLabelKeyBytesMax);
  }
  core::Label& next = labels[count++];
  next = {in_.keep(key), {}};
  return in_.word("a label's value", value, kLabelValueBytesMax, next.second);
}

// ---- Activity, progress, capsule --------------------------------------------------------------------

bool Message::take_activity(std::string_view path, od::value& value) {
  bool is_present = false;
  if (!part(path, value, kActivityFields, is_present)) return false;
  if (!is_present) return true;
  if (!has_activity_kind_) in_.refuse("activity.kind is missing; expected what the agent is doing, like working");
  beat_.activity = activity_;
  return true;
}

bool Message::take_activity_kind(std::string_view path, od::value& value) {
  std::optional<std::string_view> word;
  if (!in_.text(path, value, word)) return false;
  if (!word) return true;
  has_activity_kind_ = true;
  if (const auto kind = by_name(*word, core::ActivityKind::draining)) {
    activity_.kind = *kind;
  } else {
    in_.refuse("{} is {}; expected working, idle, waiting, rate_limited, paused or draining", path, quoted(*word));
  }
  return true;
}

bool Message::take_for_ms(std::string_view path, od::value& value) {
  std::optional<double> ms;
  if (!in_.number(path, value, "a number of ms", ms)) return false;
  if (!ms) return true;
  if (*ms >= 0) {
    activity_.for_ms = static_cast<std::int64_t>(std::floor(std::min(*ms, kHoldMaxMs)));
  } else {
    in_.refuse("{} is {}; expected ms counted from receipt, 0 or more", path, *ms);
  }
  return true;
}

bool Message::take_progress(std::string_view path, od::value& value) {
  bool is_present = false;
  if (!part(path, value, kProgressFields, is_present)) return false;
  if (!is_present) return true;
  if (!progress_seq_) in_.refuse("progress.seq is missing; expected an integer that grows with the work");
  progress_.seq = static_cast<std::uint64_t>(progress_seq_.value_or(0));
  beat_.progress = progress_;
  return true;
}

bool Message::take_digest(std::string_view path, od::value& value) {
  std::optional<std::string_view> text;
  if (!in_.text(path, value, text)) return false;
  std::uint64_t found = 0;
  if (text && digest(path, *text, found)) progress_.digest = found;
  return true;
}

bool Message::take_recent(std::string_view path, od::value& value) {
  bool is_present = false;
  if (!in_.is_of_type(path, value, od::json_type::array, "an array of digests", is_present)) return false;
  if (!is_present) return true;
  od::array items;
  if (const auto code = value.get_array().get(items)) return in_.broken(code);
  std::array<std::uint64_t, core::kRecentDigestsMax> digests{};
  std::size_t count = 0;
  const auto take = [&](od::value& item) {
    od::json_type type{};
    if (!in_.peek(item, type)) return false;
    if (count == digests.size()) in_.refuse("{} holds more than {} digests", path, digests.size());
    if (type != od::json_type::string) in_.refuse("{} holds {}; expected only strings", path, kind_of(type));
    if (count == digests.size() || type != od::json_type::string) return in_.walk(item, 4);
    std::string_view text;
    if (!in_.string(item, text)) return false;
    if (digest(path, text, digests[count])) ++count;
    return true;
  };
  if (!in_.each_item(items, take)) return false;
  progress_.recent = in_.keep_all(std::span<const std::uint64_t>(digests.data(), count));
  return true;
}

bool Message::take_capsule(std::string_view path, od::value& value) {
  std::optional<std::string_view> text;
  if (!in_.text(path, value, text)) return false;
  if (!text || text->empty()) return true;
  const std::size_t room = text->size() / 4 * 3;
  const std::size_t bytes = room - std::min(room, base64_padding(*text));
  if (bytes > core::kCapsuleBytesMax) {
    in_.refuse("{} holds {} bytes; expected at most {}", path, bytes, core::kCapsuleBytesMax);
    return true;
  }
  char* const out = in_.allocate(room);
  if (decode_base64(*text, out)) {
    beat_.capsule = {out, bytes};
  } else {
    in_.refuse("{} is not base64; expected RFC 4648, padded", path);
  }
  return true;
}

// ---- What a runner adds -------------------------------------------------------------------------------

bool Message::take_exit(std::string_view path, od::value& value) {
  bool is_present = false;
  if (!part(path, value, kExitFields, is_present)) return false;
  if (!is_present) return true;
  if (!exit_code_ && !exit_signal_) in_.refuse("exit has neither code nor signal; expected one of them");
  exit_.code = static_cast<int>(exit_code_.value_or(0));
  exit_.signal = static_cast<int>(exit_signal_.value_or(0));
  exit_.spent = static_cast<std::uint32_t>(exit_spent_.value_or(0));
  beat_.exit = exit_;
  return true;
}

bool Message::take_output(std::string_view path, od::value& value) {
  std::optional<std::string_view> text;
  if (!in_.text(path, value, text)) return false;
  if (text) exit_.output_tail = in_.keep(clip_front(*text, core::kOutputTailBytesMax));
  return true;
}

}  // namespace

struct BeatCodec::Parser {
  od::parser simd{core::kBeatBytesMax};
  std::array<char, core::kBeatBytesMax + simdjson::SIMDJSON_PADDING> buffer{};
};

BeatCodec::BeatCodec() : parser_(std::make_unique<Parser>()) {}
BeatCodec::~BeatCodec() = default;

Result<Beat> BeatCodec::decode(std::string_view json, std::pmr::memory_resource& arena) {
  if (json.size() > core::kBeatBytesMax) {
    ++counters_.refused;
    return Error{fmt::format("the message has {} bytes; expected at most {}", json.size(), core::kBeatBytesMax)};
  }
  auto& buffer = parser_->buffer;
  std::copy(json.begin(), json.end(), buffer.begin());
  // Leftovers of a longer message must not look like JSON behind the end of this one.
  std::memset(buffer.data() + json.size(), 0, simdjson::SIMDJSON_PADDING);
  od::document document;
  const simdjson::padded_string_view padded(buffer.data(), json.size(), buffer.size());
  if (const auto code = parser_->simd.iterate(padded).get(document)) {
    ++counters_.refused;
    return Error{fmt::format("broken JSON: {}", simdjson::error_message(code))};
  }
  Message message(arena, counters_);
  if (!message.read(document)) {
    ++counters_.refused;
    return Error{message.take_error()};
  }
  ++counters_.decoded;
  if (!message.beat().refusal.empty()) ++counters_.refused;
  return message.beat();
}

}  // namespace defib::ingest
