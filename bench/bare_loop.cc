#include "bare_loop.h"

#include <simdjson.h>

#include <boost/unordered/unordered_flat_map.hpp>

namespace defib::bench {
namespace {

namespace od = simdjson::ondemand;

struct BareAgent {
  std::string type;
  std::string status;
  std::string task;
  std::string instance;
  std::array<double, 6> metrics{};
  double task_progress = -1;
  std::int64_t timestamp_ms = 0;
  std::uint64_t sequence = 0;
  std::int64_t heard_ns = 0;
};

struct BareBeat {
  std::string_view id, type, status, task, instance;
  std::array<double, 6> metrics{};
  double task_progress = -1;
  std::int64_t timestamp_ms = 0;
  std::uint64_t sequence = 0;
};

struct IdHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view id) const { return boost::hash<std::string_view>{}(id); }
};

bool walk(od::value value);

bool walk_object(od::object object) {
  for (auto entry : object) {
    od::field field;
    std::string_view key;
    if (std::move(entry).get(field) || field.unescaped_key().get(key) || !walk(field.value())) return false;
  }
  return true;
}

bool walk(od::value value) {
  od::json_type type{};
  if (value.type().get(type)) return false;
  std::string_view text;
  double number = 0;
  bool boolean = false;
  od::array items;
  od::object object;
  switch (type) {
    case od::json_type::string:
      return !value.get_string().get(text);
    case od::json_type::number:
      return !value.get_double().get(number);
    case od::json_type::boolean:
      return !value.get_bool().get(boolean);
    case od::json_type::null:
      return value.is_null();
    case od::json_type::object:
      return !value.get_object().get(object) && walk_object(object);
    case od::json_type::array:
      if (value.get_array().get(items)) return false;
      for (auto item : items) {
        od::value inner;
        if (std::move(item).get(inner) || !walk(inner)) return false;
      }
      return true;
  }
  return false;
}

bool read_metrics(od::value value, std::array<double, 6>& out) {
  od::object object;
  if (value.get_object().get(object)) return false;
  static constexpr std::array<std::string_view, 6> kNames = {"cpuPercent", "memoryMB",           "activeTasks",
                                                             "queueDepth", "tokensUsedThisHour", "errorsLast5Min"};
  for (auto entry : object) {
    od::field field;
    std::string_view key;
    if (std::move(entry).get(field) || field.unescaped_key().get(key)) return false;
    std::size_t at = 0;
    while (at < kNames.size() && kNames[at] != key) ++at;
    if (at == kNames.size() ? !walk(field.value()) : field.value().get_double().get(out[at]) != simdjson::SUCCESS) {
      return false;
    }
  }
  return true;
}

bool read_field(std::string_view key, od::value& value, BareBeat& out) {
  if (key == "agentId") return !value.get_string().get(out.id);
  if (key == "agentType") return !value.get_string().get(out.type);
  if (key == "timestamp") return !value.get_int64().get(out.timestamp_ms);
  if (key == "sequence") return !value.get_uint64().get(out.sequence);
  if (key == "status") return !value.get_string().get(out.status);
  if (key == "metrics") return read_metrics(value, out.metrics);
  if (key == "currentTask") return !value.get_string().get(out.task);
  if (key == "taskProgress") return !value.get_double().get(out.task_progress);
  if (key == "instanceId") return !value.get_string().get(out.instance);
  return walk(value);
}

}  // namespace

struct BareLoop::State {
  od::parser parser{64 * 1024};
  boost::unordered_flat_map<std::string, BareAgent, IdHash, std::equal_to<>> agents;
};

BareLoop::BareLoop(std::size_t agents_expected) : state_(std::make_unique<State>()) {
  state_->agents.reserve(agents_expected);
}
BareLoop::~BareLoop() = default;

bool BareLoop::take(std::string_view message, std::size_t readable_bytes, std::int64_t now_ns) {
  od::document document;
  od::object object;
  const simdjson::padded_string_view padded(message.data(), message.size(), readable_bytes);
  if (state_->parser.iterate(padded).get(document) || document.get_object().get(object)) return false;
  BareBeat beat;
  for (auto entry : object) {
    od::field field;
    std::string_view key;
    if (std::move(entry).get(field) || field.unescaped_key().get(key)) return false;
    if (!read_field(key, field.value(), beat)) return false;
  }
  if (document.current_location().error() != simdjson::OUT_OF_BOUNDS) return false;
  if (beat.id.empty()) return false;
  auto found = state_->agents.find(beat.id);
  if (found == state_->agents.end()) found = state_->agents.try_emplace(std::string(beat.id)).first;
  BareAgent& agent = found->second;
  agent.type = beat.type;
  agent.status = beat.status;
  agent.task = beat.task;
  agent.instance = beat.instance;
  agent.metrics = beat.metrics;
  agent.task_progress = beat.task_progress;
  agent.timestamp_ms = beat.timestamp_ms;
  agent.sequence = beat.sequence;
  agent.heard_ns = now_ns;
  return true;
}

std::size_t BareLoop::size() const { return state_->agents.size(); }

}  // namespace defib::bench
