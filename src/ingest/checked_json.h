// Reading JSON by type with simdjson on-demand, and so that nothing goes unchecked: on-demand skips without a
// look what nobody reads, so here every value is read, known or not, nested ones up to kDepthMax. What simdjson
// checks itself while it reads: UTF-8, escapes, halves of surrogate pairs, numbers beyond double.
//
// Private to beat_codec.cc: one compiled copy, inlined there. Two ways to say no: fail() refuses the whole
// message (functions return false from then on), refuse() keeps the identity and the first reason.
// Text that the readers hand out lives in simdjson's buffer until the next message; keep() copies it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <memory_resource>
#include <optional>
#include <simdjson.h>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "ingest/beat_codec.h"

namespace defib::ingest {

namespace od = simdjson::ondemand;

inline bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }
inline bool has_control(std::string_view text) { return std::any_of(text.begin(), text.end(), is_control); }

// Foreign text inside a sentence of ours: short, and unable to break a log line.
inline std::string quoted(std::string_view text) {
  const std::string_view shown = clip(text, 48);
  std::string out = "\"";
  for (const char c : shown) out += is_control(c) ? '?' : c;
  return out += shown.size() < text.size() ? "...\"" : "\"";
}

inline std::string_view kind_of(od::json_type type) {
  switch (type) {
    case od::json_type::array:
      return "an array";
    case od::json_type::object:
      return "an object";
    case od::json_type::number:
      return "a number";
    case od::json_type::string:
      return "a string";
    case od::json_type::boolean:
      return "a boolean";
    case od::json_type::null:
      return "null";
  }
  return "unknown";
}

class CheckedJson {
 public:
  CheckedJson(std::pmr::memory_resource& arena, CodecCounters& counters) : arena_(arena), counters_(counters) {}

  CodecCounters& counters() { return counters_; }
  std::string take_error() { return std::move(error_); }
  std::string_view refusal() const { return refusal_; }

  template <typename... Args>
  [[nodiscard]] bool fail(fmt::format_string<Args...> format, Args&&... args) {
    error_ = fmt::format(format, std::forward<Args>(args)...);
    return false;
  }
  [[nodiscard]] bool broken(simdjson::error_code code) {
    return fail("broken JSON: {}", simdjson::error_message(code));
  }
  template <typename... Args>
  void refuse(fmt::format_string<Args...> format, Args&&... args) {
    if (!refusal_.empty()) return;
    fmt::memory_buffer sentence;
    fmt::format_to(fmt::appender(sentence), format, std::forward<Args>(args)...);
    refusal_ = keep({sentence.data(), sentence.size()});
  }

  char* allocate(std::size_t bytes) { return static_cast<char*>(arena_.allocate(std::max<std::size_t>(bytes, 1), 1)); }

  std::string_view keep(std::string_view text) {
    if (text.empty()) return {};
    char* const copy = allocate(text.size());
    std::memcpy(copy, text.data(), text.size());
    return {copy, text.size()};
  }

  template <typename T>
  std::span<const T> keep_all(std::span<const T> items) {
    if (items.empty()) return {};
    T* const copy = static_cast<T*>(arena_.allocate(items.size_bytes(), alignof(T)));
    std::uninitialized_copy(items.begin(), items.end(), copy);
    return {copy, items.size()};
  }

  // Calls take(key, value) for each field until one returns false.
  template <typename Take>
  [[nodiscard]] bool each_pair(od::object& object, Take&& take) {
    for (auto entry : object) {
      od::field pair;
      if (const auto code = std::move(entry).get(pair)) return broken(code);
      std::string_view key;
      if (const auto code = pair.unescaped_key().get(key)) return broken(code);
      if (!take(key, pair.value())) return false;
    }
    return true;
  }

  // Calls take(item) for each item until one returns false.
  template <typename Take>
  [[nodiscard]] bool each_item(od::array& items, Take&& take) {
    for (auto entry : items) {
      od::value item;
      if (const auto code = std::move(entry).get(item)) return broken(code);
      if (!take(item)) return false;
    }
    return true;
  }

  // Calls take(entry of the table, value) for each known field, and walks and counts the others. Senders write
  // fields in one order, so the search for a key starts behind the last one found: one comparison is the rule.
  template <typename Table, typename Take>
  [[nodiscard]] bool each_field(od::object& object, const Table& table, Take&& take) {
    static_assert(std::tuple_size_v<Table> <= 32);
    std::uint32_t seen = 0;
    std::size_t start = 0;
    return each_pair(object, [&](std::string_view key, od::value& value) {
      std::size_t tried = 0;
      std::size_t at = start;
      while (tried < table.size() && table[at].key != key) {
        ++tried;
        at = at + 1 == table.size() ? 0 : at + 1;
      }
      if (tried == table.size()) {
        ++counters_.unknown_fields;
        return walk(value, 2);
      }
      if ((seen >> at & 1U) != 0) return fail("{} stands twice in the message; expected once", table[at].path);
      seen |= 1U << at;
      start = at + 1 == table.size() ? 0 : at + 1;
      return take(table[at], value);
    });
  }

  // Parses a value at this depth for its validity alone.
  [[nodiscard]] bool walk(od::value& value, std::size_t depth) {
    if (depth > kDepthMax) return fail("the message is nested deeper than {} levels", kDepthMax);
    od::json_type type{};
    if (!peek(value, type)) return false;
    std::string_view text;
    double number = 0;
    bool boolean = false;
    od::object object;
    od::array items;
    simdjson::error_code code = simdjson::SUCCESS;
    switch (type) {
      case od::json_type::object:
        if (code = value.get_object().get(object); code != simdjson::SUCCESS) break;
        return each_pair(object, [&](std::string_view, od::value& inner) { return walk(inner, depth + 1); });
      case od::json_type::array:
        if (code = value.get_array().get(items); code != simdjson::SUCCESS) break;
        return each_item(items, [&](od::value& inner) { return walk(inner, depth + 1); });
      case od::json_type::string:
        return string(value, text);
      case od::json_type::number:
        code = value.get_double().get(number);
        break;
      case od::json_type::boolean:
        code = value.get_bool().get(boolean);
        break;
      case od::json_type::null:
        code = value.is_null().get(boolean);
        break;
    }
    return code == simdjson::SUCCESS || broken(code);
  }

  [[nodiscard]] bool peek(od::value& value, od::json_type& type) {
    const simdjson::error_code code = value.type().get(type);
    return code == simdjson::SUCCESS || broken(code);
  }

  // Reads a value that is a string.
  [[nodiscard]] bool string(od::value& value, std::string_view& out) {
    const simdjson::error_code code = value.get_string().get(out);
    return code == simdjson::SUCCESS || broken(code);
  }

  // Reads a value that is a number; on_bad(found) speaks of one that is no integer from 0 to `max`.
  template <typename OnBad>
  [[nodiscard]] bool integer(od::value& value, std::int64_t max, std::optional<std::int64_t>& out, OnBad&& on_bad) {
    std::int64_t found = 0;
    if (value.get_int64().get(found) == simdjson::SUCCESS) {
      if (found < 0 || found > max) return on_bad(found);
      out = found;
      return true;
    }
    // 5.0 and 1e3 are integers too (JSON Schema 2020-12, section 6.1.1).
    double real = 0;
    if (const auto code = value.get_double().get(real)) return broken(code);
    if (!(real >= 0 && real <= static_cast<double>(max)) || std::floor(real) != real) return on_bad(real);
    out = static_cast<std::int64_t>(real);
    return true;
  }

  // The readers below leave `out` as it is where the value is null, or of a wrong type and so refused.

  [[nodiscard]] bool is_of_type(std::string_view path, od::value& value, od::json_type wanted,
                                std::string_view expected, bool& out) {
    od::json_type type{};
    if (!peek(value, type)) return false;
    out = type == wanted;
    if (out) return true;
    if (type != od::json_type::null) refuse("{} is {}; expected {}", path, kind_of(type), expected);
    return walk(value, 2);
  }

  [[nodiscard]] bool text(std::string_view path, od::value& value, std::optional<std::string_view>& out) {
    bool is_string = false;
    if (!is_of_type(path, value, od::json_type::string, "a string", is_string)) return false;
    if (!is_string) return true;
    return string(value, out.emplace());
  }

  // A short word that stands in tables, globs and environments: too long or unprintable is refused. Kept.
  [[nodiscard]] bool word(std::string_view path, od::value& value, std::size_t bytes_max, std::string_view& out) {
    std::optional<std::string_view> found;
    if (!text(path, value, found)) return false;
    if (!found) return true;
    if (found->size() > bytes_max) {
      refuse("{} has {} bytes; expected at most {}", path, found->size(), bytes_max);
    } else if (has_control(*found)) {
      refuse("{} is {}; expected text without control characters", path, quoted(*found));
    } else {
      out = keep(*found);
    }
    return true;
  }

  // Text for people: what is too long loses its end. Kept.
  [[nodiscard]] bool prose(std::string_view path, od::value& value, std::size_t bytes_max, std::string_view& out) {
    std::optional<std::string_view> found;
    if (!text(path, value, found)) return false;
    if (found) out = keep(clip(*found, bytes_max));
    return true;
  }

  [[nodiscard]] bool number(std::string_view path, od::value& value, std::string_view expected,
                            std::optional<double>& out) {
    bool is_number = false;
    if (!is_of_type(path, value, od::json_type::number, expected, is_number)) return false;
    if (!is_number) return true;
    const simdjson::error_code code = value.get_double().get(out.emplace());
    return code == simdjson::SUCCESS || broken(code);
  }

  [[nodiscard]] bool whole(std::string_view path, od::value& value, std::int64_t max,
                           std::optional<std::int64_t>& out) {
    bool is_number = false;
    if (!is_of_type(path, value, od::json_type::number, "an integer", is_number)) return false;
    if (!is_number) return true;
    return integer(value, max, out, [&](auto found) {
      refuse("{} is {}; expected an integer from 0 to {}", path, found, max);
      return true;
    });
  }

  [[nodiscard]] bool boolean(std::string_view path, od::value& value, bool& out) {
    bool is_boolean = false;
    if (!is_of_type(path, value, od::json_type::boolean, "true or false", is_boolean)) return false;
    if (!is_boolean) return true;
    const simdjson::error_code code = value.get_bool().get(out);
    return code == simdjson::SUCCESS || broken(code);
  }

 private:
  std::pmr::memory_resource& arena_;
  CodecCounters& counters_;
  std::string error_;
  std::string_view refusal_;
};

}  // namespace defib::ingest
