#include "store/codec.h"

#include <concepts>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <boost/json.hpp>

namespace defib::store {

namespace {

namespace json = boost::json;

// The enumerator that core::name spells so: names, unlike numbers, survive a new order of enumerators.
template <typename E>
bool parse_enum(std::string_view text, E& out) {
  for (unsigned i = 0; i < 256; ++i) {
    const std::string_view candidate = core::name(static_cast<E>(i));
    if (candidate == "?") return false;
    if (candidate != text) continue;
    out = static_cast<E>(i);
    return true;
  }
  return false;
}

// Each record lists its fields once, in describe(); the same list writes and reads.

class FieldWriter {
 public:
  FieldWriter(json::object& out, JournalScale scale) : out_(out), scale_(scale) {}

  void operator()(std::string_view name, bool value) { out_.emplace(name, value); }
  void operator()(std::string_view name, const std::string& value) {
    if (!value.empty()) out_.emplace(name, value);
  }
  void operator()(std::string_view name, Instant value) { out_.emplace(name, scale_.to_journal(value)); }
  void operator()(std::string_view name, WallTime value) { out_.emplace(name, to_ms(value)); }
  template <std::integral T>
  void operator()(std::string_view name, T value) {
    out_.emplace(name, value);
  }
  template <typename T>
    requires std::is_enum_v<T>
  void operator()(std::string_view name, T value) {
    out_.emplace(name, core::name(value));
  }
  template <typename T>
  void operator()(std::string_view name, const std::optional<T>& value) {
    if (value) (*this)(name, *value);
  }
  void operator()(std::string_view name, const std::vector<std::pair<std::string, std::string>>& pairs) {
    if (pairs.empty()) return;
    json::array list(out_.storage());
    for (const auto& [key, value] : pairs) {
      list.emplace_back(key);
      list.emplace_back(value);
    }
    out_.emplace(name, std::move(list));
  }
  template <typename T>
  void operator()(std::string_view name, const std::vector<T>& items) {
    if (items.empty()) return;
    json::array list(out_.storage());
    for (const T& item : items) {
      json::object object(out_.storage());
      FieldWriter fields(object, scale_);
      describe(fields, item);
      list.push_back(std::move(object));
    }
    out_.emplace(name, std::move(list));
  }

 private:
  json::object& out_;
  JournalScale scale_;
};

class FieldReader {
 public:
  FieldReader(const json::object& in, JournalScale scale) : in_(in), scale_(scale) {}

  template <typename T>
  void operator()(std::string_view name, T& out) {
    const json::value* value = in_.if_contains(name);
    if (value != nullptr && !read(*value, out)) is_ok_ = false;
  }
  bool is_ok() const { return is_ok_; }

 private:
  bool read(const json::value& value, bool& out) {
    if (value.is_bool()) out = value.get_bool();
    return value.is_bool();
  }
  bool read(const json::value& value, std::string& out) {
    if (value.is_string()) out.assign(value.get_string().data(), value.get_string().size());
    return value.is_string();
  }
  bool read(const json::value& value, Instant& out) {
    std::int64_t t = 0;
    if (!read(value, t)) return false;
    out = scale_.from_journal(t);
    return true;
  }
  bool read(const json::value& value, WallTime& out) {
    std::int64_t t = 0;
    if (!read(value, t)) return false;
    out = wall_from_ms(t);
    return true;
  }
  template <std::integral T>
  bool read(const json::value& value, T& out) {
    json::error_code error;
    out = value.to_number<T>(error);
    return !error;
  }
  template <typename T>
    requires std::is_enum_v<T>
  bool read(const json::value& value, T& out) {
    return value.is_string() && parse_enum(std::string_view(value.get_string()), out);
  }
  template <typename T>
  bool read(const json::value& value, std::optional<T>& out) {
    return read(value, out.emplace());
  }
  bool read(const json::value& value, std::vector<std::pair<std::string, std::string>>& out) {
    const json::array* list = value.if_array();
    if (list == nullptr || list->size() % 2 != 0) return false;
    out.resize(list->size() / 2);
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (!read((*list)[2 * i], out[i].first) || !read((*list)[2 * i + 1], out[i].second)) return false;
    }
    return true;
  }
  template <typename T>
  bool read(const json::value& value, std::vector<T>& out) {
    const json::array* list = value.if_array();
    if (list == nullptr) return false;
    for (const json::value& item : *list) {
      const json::object* object = item.if_object();
      if (object == nullptr) return false;
      FieldReader fields(*object, scale_);
      describe(fields, out.emplace_back());
      if (!fields.is_ok()) return false;
    }
    return true;
  }

  const json::object& in_;
  JournalScale scale_;
  bool is_ok_ = true;
};

// `Record` is const for the writer.
template <typename T, typename Record>
concept Is = std::same_as<std::remove_const_t<T>, Record>;

template <typename Fields, Is<core::PastInstance> Record>
void describe(Fields& field, Record& r) {
  field("instance", r.instance_id);
  field("sequence", r.sequence);
  field("fenced", r.is_fenced);
}

template <typename Fields, Is<core::Attempt> Record>
void describe(Fields& field, Record& r) {
  field("n", r.n);
  field("step", r.step);
  field("kind", r.kind);
  field("with", r.with);
  field("started_at", r.started_at);
  field("result", r.result);
  field("detail", r.detail);
}

template <typename Fields, Is<core::AgentRecord> Record>
void describe(Fields& field, Record& r) {
  field("type", r.type);
  field("host", r.host);
  field("pid", r.pid);
  field("instance", r.instance_id);
  field("registered_at_ms", r.registered_at_ms);
  field("started_at_ms", r.started_at_ms);
  field("timestamp_ms", r.timestamp_ms);
  field("sequence", r.sequence);
  field("interval_ms", r.interval_ms);
  field("own_interval", r.has_own_interval);
  field("runner", r.is_runner);
  field("source", r.source);
  field("state", r.state);
  field("state_since", r.state_since);
  field("registered", r.registered);
  field("last_heard", r.last_heard);
  field("last_heard_wall", r.last_heard_wall);
  field("first_heard_wall", r.first_heard_wall);
  field("beaten", r.has_beaten);
  field("ended", r.is_ended);
  field("expects_successor", r.expects_successor);
  field("missed_beats", r.missed_beats);
  field("task", r.current_task);
  field("labels", r.labels);
  field("past", r.past);
}

template <typename Fields, Is<core::Incident> Record>
void describe(Fields& field, Record& r) {
  field("id", r.id);
  field("agent", r.agent_id);
  field("verdict", r.verdict);
  field("evidence", r.evidence);
  field("output_tail", r.output_tail);
  field("phase", r.phase);
  field("phase_reason", r.phase_reason);
  field("opened_at", r.opened_at);
  field("closed_at", r.closed_at);
  field("outcome", r.outcome);
  field("attempts", r.attempts);
  field("acknowledged", r.is_acknowledged);
  field("instance", r.instance_id);
}

template <typename Fields, Is<core::NoticeRecord> Record>
void describe(Fields& field, Record& r) {
  field("id", r.id);
  field("channel", r.channel);
  field("status", r.status);
  field("incident", r.incident);
  field("severity", r.severity);
  field("message", r.message);
  field("action_required", r.action_required);
  field("agent", r.agent_id);
  field("last_heartbeat", r.last_heartbeat);
  field("created_at", r.created_at);
  field("delivered", r.is_delivered);
  field("done", r.is_done);
}

// Most bodies fit, so that making or reading one costs no allocation but its text.
constexpr std::size_t kScratchBytes = 8 * 1024;

template <typename Record>
std::string encode_body(const Record& record, JournalScale scale) {
  unsigned char scratch[kScratchBytes];
  json::monotonic_resource memory(scratch, sizeof scratch);
  json::object object(&memory);
  FieldWriter fields(object, scale);
  describe(fields, record);
  return json::serialize(object);
}

template <typename Record>
bool decode_body(std::string_view body, JournalScale scale, Record& out) {
  unsigned char scratch[kScratchBytes];
  json::monotonic_resource memory(scratch, sizeof scratch);
  json::parse_options options;
  options.allow_invalid_utf8 = true;
  json::error_code error;
  const json::value value = json::parse(body, error, &memory, options);
  if (error || !value.is_object()) return false;
  FieldReader fields(value.get_object(), scale);
  describe(fields, out);
  return fields.is_ok();
}

constexpr std::size_t kEntryBytes = 4 * 8;

void append_little_endian(std::string& out, std::uint64_t value) {
  for (int byte = 0; byte < 8; ++byte) out.push_back(static_cast<char>(value >> (8 * byte) & 0xff));
}

std::uint64_t little_endian_at(std::string_view bytes, std::size_t at) {
  std::uint64_t value = 0;
  for (std::size_t byte = 0; byte < 8; ++byte) {
    value |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[at + byte])) << (8 * byte);
  }
  return value;
}

}  // namespace

std::string encode(const core::AgentRecord& record, JournalScale scale) { return encode_body(record, scale); }
std::string encode(const core::Incident& incident) { return encode_body(incident, {}); }
std::string encode(const core::NoticeRecord& notice) { return encode_body(notice, {}); }

std::string encode(const core::CheckpointChunk& chunk, JournalScale scale) {
  std::string blob;
  blob.reserve(chunk.entries.size() * kEntryBytes);
  for (const core::CheckpointEntry& entry : chunk.entries) {
    append_little_endian(blob, static_cast<std::uint64_t>(scale.to_journal(entry.last_heard)));
    append_little_endian(blob, static_cast<std::uint64_t>(entry.last_heard_wall_ms));
    append_little_endian(blob, entry.sequence);
    append_little_endian(blob, static_cast<std::uint64_t>(entry.timestamp_ms));
  }
  return blob;
}

bool decode(std::string_view body, JournalScale scale, core::AgentRecord& out) { return decode_body(body, scale, out); }
bool decode(std::string_view body, core::Incident& out) { return decode_body(body, {}, out); }
bool decode(std::string_view body, core::NoticeRecord& out) { return decode_body(body, {}, out); }

bool decode(std::string_view blob, JournalScale scale, core::CheckpointChunk& out) {
  if (blob.size() % kEntryBytes != 0 || blob.size() > core::kCheckpointChunk * kEntryBytes) return false;
  out.entries.clear();
  out.entries.reserve(blob.size() / kEntryBytes);
  for (std::size_t at = 0; at < blob.size(); at += kEntryBytes) {
    core::CheckpointEntry& entry = out.entries.emplace_back();
    entry.last_heard = scale.from_journal(static_cast<std::int64_t>(little_endian_at(blob, at)));
    entry.last_heard_wall_ms = static_cast<std::int64_t>(little_endian_at(blob, at + 8));
    entry.sequence = little_endian_at(blob, at + 16);
    entry.timestamp_ms = static_cast<std::int64_t>(little_endian_at(blob, at + 24));
  }
  return true;
}

bool parse_name(std::string_view text, core::EventKind& out) { return parse_enum(text, out); }

}  // namespace defib::store
