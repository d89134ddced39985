// YAML text as a small tree of our own, each node with its place in the text.
//
// yaml-cpp's own nodes forget repeated keys and grow with aliases; this tree keeps every key, refuses
// anchors, aliases, tags and further documents, and is bounded in bytes and depth. Nothing throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "app/config.h"

namespace defib::app {

// A configuration of a megabyte is a mistake or an attack; so is one nested this deep.
inline constexpr std::size_t kConfigBytesMax = std::size_t{1} << 20;
inline constexpr std::size_t kConfigDepthMax = 16;

struct YamlEntry;

struct YamlNode {
  enum class Kind : std::uint8_t { nothing, scalar, list, map };
  Kind kind = Kind::nothing;
  // From 1. A value that is not there has the place of its key.
  std::size_t line = 1;
  std::size_t column = 1;
  std::string text;                  // Of a scalar.
  bool is_from_environment = false;  // Wholly or in part: it may be a secret and is never shown.
  std::vector<YamlNode> items;       // Of a list.
  std::vector<YamlEntry> entries;    // Of a map, in the file's order, repeated keys included.
};

struct YamlEntry {
  YamlNode key;  // Always a scalar.
  YamlNode value;
};

// The mistakes and warnings found so far, at most kFindingsMax each: past that, a file is not a
// configuration, and more lines help nobody.
class Findings {
 public:
  static constexpr std::size_t kFindingsMax = 200;

  // One mistake a place: the first says what is wrong there, others would only follow from it.
  void mistake(const YamlNode& at, std::string message);
  // About the file as a whole.
  void mistake(std::string message);
  void warning(const YamlNode& at, std::string message);
  void warning(std::string message);
  bool has_mistakes() const { return !mistakes_.empty(); }
  // Hands over what was found, in the order of the file.
  void move_to(ConfigReading& reading);

 private:
  std::vector<ConfigMistake> mistakes_;
  std::vector<ConfigMistake> warnings_;
};

// The one document in `text`; an empty text is a `nothing`. Where mistakes are found, the tree is not to be read.
YamlNode read_yaml(std::string_view text, Findings& findings);

// Puts the environment's values in the place of "${NAME}" in every value (never in keys); "$${" is a literal "${".
void put_in_environment(YamlNode& node, Findings& findings);

// "nothing", "a text", "a list" or "a map".
std::string_view kind_name(const YamlNode& node);
// A scalar as it may be shown in a message: quoted, clipped, without control characters or values from the
// environment; of anything else its kind. Where a value may be a secret, only its kind is shown.
std::string shown(const YamlNode& node);
// The same for any text that is no secret.
std::string shown(std::string_view text);

}  // namespace defib::app
