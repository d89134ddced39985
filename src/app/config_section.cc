#include "app/config_section.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <unordered_map>

#include "base/text.h"

namespace defib::app {

Section::Section(Findings& findings, const YamlNode& node, std::string_view name,
                 std::span<const std::string_view> keys, std::string_view example)
    : findings_(findings), node_(node) {
  if (node.kind != YamlNode::Kind::map) {
    findings_.mistake(node, fmt::format("{} is a map of keys, not {}: write `{}`", name, kind_name(node), example));
    return;
  }
  check_repeated_keys(findings_, node);
  for (const YamlEntry& entry : node.entries) {
    if (std::find(keys.begin(), keys.end(), entry.key.text) != keys.end()) continue;
    const std::string hint = did_you_mean(entry.key.text, keys);
    findings_.mistake(entry.key, fmt::format("unknown key {} in {}{}", shown(entry.key), name,
                                             hint.empty() ? ": it knows " + name_list(keys) : hint));
  }
}

const YamlNode* Section::find(std::string_view key) const {
  for (const YamlEntry& entry : node_.entries) {
    if (entry.key.text == key) return &entry.value;
  }
  return nullptr;
}

const YamlNode* Section::scalar(std::string_view key, std::string_view expected) const {
  const YamlNode* const value = find(key);
  if (value == nullptr) return nullptr;
  if (value->kind == YamlNode::Kind::nothing) {
    findings_.mistake(*value,
                      fmt::format("`{}` has no value: it is {}; leave the key out for its default", key, expected));
    return nullptr;
  }
  if (value->kind != YamlNode::Kind::scalar) {
    findings_.mistake(*value, fmt::format("`{}` is {}, not {}", key, expected, shown(*value)));
    return nullptr;
  }
  return value;
}

void Section::duration(std::string_view key, Duration least, Duration most, Duration& out) const {
  const YamlNode* const value = scalar(key, "a duration like 30s");
  if (value == nullptr) return;
  const Result<Duration> read = parse_duration(value->text);
  if (!read) {
    findings_.mistake(
        *value, fmt::format("`{}`: {} is not a duration: write a whole number and a unit, like 250ms, 30s, 5m, 2h "
                            "or 7d",
                            key, shown(*value)));
  } else if (read.value() < least || read.value() > most) {
    findings_.mistake(*value, fmt::format("`{}` is from {} to {}, not {}", key, format_duration(least),
                                          format_duration(most), shown(*value)));
  } else {
    out = read.value();
  }
}

bool Section::whole_number(std::string_view key, std::uint64_t least, std::uint64_t most, std::uint64_t& out) const {
  const std::string expected = fmt::format("a whole number from {} to {}", least, most);
  const YamlNode* const value = scalar(key, expected);
  if (value == nullptr) return false;
  std::uint64_t number = 0;
  const char* const end = value->text.data() + value->text.size();
  const auto [rest, error] = std::from_chars(value->text.data(), end, number);
  if (error != std::errc() || rest != end || number < least || number > most) {
    findings_.mistake(*value, fmt::format("`{}` is {}, not {}", key, expected, shown(*value)));
    return false;
  }
  out = number;
  return true;
}

void Section::count(std::string_view key, std::uint64_t least, std::uint64_t most, std::uint32_t& out) const {
  std::uint64_t number = 0;
  if (whole_number(key, least, most, number)) out = static_cast<std::uint32_t>(number);
}

void Section::count(std::string_view key, std::uint64_t least, std::uint64_t most, std::size_t& out) const {
  std::uint64_t number = 0;
  if (whole_number(key, least, most, number)) out = number;
}

void Section::percent(std::string_view key, std::uint32_t& out) const {
  constexpr std::string_view kExpected = "a share from 1% to 100%, like 30%";
  const YamlNode* const value = scalar(key, kExpected);
  if (value == nullptr) return;
  std::uint32_t number = 0;
  const std::string& text = value->text;
  const bool has_sign = text.ends_with('%');
  const char* const end = text.data() + text.size() - (has_sign ? 1 : 0);
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (!has_sign || error != std::errc() || rest != end || number < 1 || number > 100) {
    findings_.mistake(*value, fmt::format("`{}` is {}, not {}", key, kExpected, shown(*value)));
  } else {
    out = number;
  }
}

void Section::flag(std::string_view key, bool& out) const {
  const YamlNode* const value = scalar(key, "true or false");
  if (value == nullptr) return;
  if (value->text != "true" && value->text != "false") {
    findings_.mistake(*value, fmt::format("`{}` is true or false, not {}", key, shown(*value)));
  } else {
    out = value->text == "true";
  }
}

bool Section::text(std::string_view key, std::string& out) const {
  const YamlNode* const value = scalar(key, "a text");
  if (value == nullptr) return false;
  if (!is_plain_text(value->text)) {
    findings_.mistake(*value,
                      fmt::format("`{}` is a text of at least one character and without control characters", key));
    return false;
  }
  out = value->text;
  return true;
}

int Section::choice(std::string_view key, std::span<const std::string_view> names) const {
  const std::string expected = name_list(names, "or");
  const YamlNode* const value = scalar(key, expected);
  if (value == nullptr) return -1;
  const auto found = std::find(names.begin(), names.end(), value->text);
  if (found != names.end()) return static_cast<int>(found - names.begin());
  findings_.mistake(*value, fmt::format("`{}` is {}, not {}{}", key, expected, shown(*value),
                                        value->is_from_environment ? "" : did_you_mean(value->text, names)));
  return -1;
}

void check_repeated_keys(Findings& findings, const YamlNode& map) {
  std::unordered_map<std::string_view, const YamlNode*> seen;
  for (const YamlEntry& entry : map.entries) {
    const auto [first, is_new] = seen.emplace(entry.key.text, &entry.key);
    if (is_new) continue;
    findings.mistake(entry.key, fmt::format("key {} is repeated: it stands in line {} already", shown(entry.key),
                                            first->second->line));
  }
}

std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates) {
  const std::string_view nearest = nearest_name(word, candidates);
  return nearest.empty() ? "" : fmt::format(" (did you mean `{}`?)", nearest);
}

std::string name_list(std::span<const std::string_view> names, std::string_view word) {
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) out += i + 1 == names.size() ? fmt::format(" {} ", word) : ", ";
    out += fmt::format("`{}`", names[i]);
  }
  return out;
}

bool is_plain_text(std::string_view text) {
  return !text.empty() && std::none_of(text.begin(), text.end(),
                                       [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

}  // namespace defib::app
