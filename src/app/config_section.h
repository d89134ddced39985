// One map of the configuration with its known keys, and the typed reading of their values.
//
// Each reader leaves `out` alone, and with it the default, where the key is absent or its value wrong; a wrong
// value is a mistake that says what was expected. A Section borrows its node and the findings.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "app/yaml_tree.h"
#include "base/time.h"

namespace defib::app {

class Section {
 public:
  // Tells unknown keys (with the nearest known one), repeated keys and anything that is no map.
  // `name` and `example` are for the messages: "`guard`", "guard: {share: 30%}".
  Section(Findings& findings, const YamlNode& node, std::string_view name, std::span<const std::string_view> keys,
          std::string_view example);

  // The value of a key, null where the key is absent. The first of repeated ones.
  const YamlNode* find(std::string_view key) const;
  const YamlNode& node() const { return node_; }

  void duration(std::string_view key, Duration least, Duration most, Duration& out) const;
  // A whole number from `least` to `most`.
  void count(std::string_view key, std::uint64_t least, std::uint64_t most, std::uint32_t& out) const;
  void count(std::string_view key, std::uint64_t least, std::uint64_t most, std::size_t& out) const;
  // "30%", from 1% to 100%.
  void percent(std::string_view key, std::uint32_t& out) const;
  void flag(std::string_view key, bool& out) const;
  // Text that is not empty and holds no control characters. True where it was read.
  bool text(std::string_view key, std::string& out) const;
  // The place of the value in `names`, or -1 where it is absent or none of them.
  int choice(std::string_view key, std::span<const std::string_view> names) const;

  void mistake(const YamlNode& at, std::string message) const { findings_.mistake(at, std::move(message)); }

 private:
  // The scalar of a key; null where absent, and where it is no scalar, which is told as "`key` is `expected`".
  const YamlNode* scalar(std::string_view key, std::string_view expected) const;
  bool whole_number(std::string_view key, std::uint64_t least, std::uint64_t most, std::uint64_t& out) const;

  Findings& findings_;
  const YamlNode& node_;
};

// Tells keys that stand twice in a map; for maps whose keys are the operator's own, too.
void check_repeated_keys(Findings& findings, const YamlNode& map);

// " (did you mean `name`?)", or "" where no candidate is near.
std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates);
// "`a`, `b` and `c`", or with another word before the last.
std::string name_list(std::span<const std::string_view> names, std::string_view word = "and");
// True for text of at least one byte without control characters.
bool is_plain_text(std::string_view text);

}  // namespace defib::app
