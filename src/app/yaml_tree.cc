#include "app/yaml_tree.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fmt/format.h>
#include <optional>
#include <sstream>
#include <tuple>
#include <utility>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include "base/check.h"
#include "base/text.h"

namespace defib::app {
namespace {

// Builds the tree from yaml-cpp's events. A value that is complete goes to the innermost open list or map.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(Findings& findings) : findings_(findings) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ == 2)
      findings_.mistake(placed(mark), "a second document begins here: a configuration is one document");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    check_anchor(mark, anchor);
    complete(placed(mark));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    findings_.mistake(placed(mark),
                      "aliases (*name) are not used here: write the value out, or put a glob in quotes (\"*\")");
    complete(placed(mark));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_anchor(mark, anchor);
    check_tag(mark, tag);
    YamlNode node = placed(mark);
    // `~` and `null` are YAML's other ways to write nothing; in quotes (tag "!") they are text.
    const bool is_nothing = tag == "?" && (value.empty() || value == "~" || value == "null");
    if (!is_nothing) {
      node.kind = YamlNode::Kind::scalar;
      node.text = value;
    }
    complete(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::list);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::map);
  }
  void OnMapEnd() override { close(); }

  std::size_t documents() const { return documents_; }
  YamlNode take_root() { return std::move(root_); }

 private:
  struct Open {
    YamlNode node;
    std::optional<YamlNode> key;  // Of a map: the key that waits for its value.
  };

  static YamlNode placed(const YAML::Mark& mark) {
    YamlNode node;
    node.line = static_cast<std::size_t>(std::max(mark.line, 0)) + 1;
    node.column = static_cast<std::size_t>(std::max(mark.column, 0)) + 1;
    return node;
  }
  void check_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) findings_.mistake(placed(mark), "anchors (&name) are not used here: write the value out");
  }
  void check_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") {
      findings_.mistake(placed(mark), "tags (!name) are not used here: put a value that begins with ! in quotes");
    }
  }
  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    check_anchor(mark, anchor);
    check_tag(mark, tag);
    if (stack_.size() == kConfigDepthMax || depth_ignored_ > 0) {
      if (depth_ignored_++ == 0) {
        findings_.mistake(placed(mark), fmt::format("nested deeper than {} levels", kConfigDepthMax));
      }
      return;
    }
    stack_.push_back({.node = placed(mark)});
    stack_.back().node.kind = kind;
  }
  void close() {
    if (depth_ignored_ > 0) {
      // What was too deep counts as nothing, so that keys and values stay in pairs.
      if (--depth_ignored_ == 0) complete(YamlNode{});
      return;
    }
    DEFIB_CHECK(!stack_.empty());
    YamlNode node = std::move(stack_.back().node);
    stack_.pop_back();
    complete(std::move(node));
  }
  void complete(YamlNode node) {
    if (depth_ignored_ > 0) return;
    if (stack_.empty()) {
      if (documents_ <= 1) root_ = std::move(node);
      return;
    }
    Open& top = stack_.back();
    if (top.node.kind == YamlNode::Kind::list) {
      top.node.items.push_back(std::move(node));
    } else if (!top.key) {
      if (node.kind != YamlNode::Kind::scalar) findings_.mistake(node, "a key must be plain text");
      top.key = std::move(node);
    } else {
      // yaml-cpp places a value that is not there at whatever comes next.
      if (node.kind == YamlNode::Kind::nothing)
        std::tie(node.line, node.column) = std::tie(top.key->line, top.key->column);
      top.node.entries.push_back({.key = std::move(*top.key), .value = std::move(node)});
      top.key.reset();
    }
  }

  Findings& findings_;
  std::size_t documents_ = 0;
  std::size_t depth_ignored_ = 0;
  std::vector<Open> stack_;
  YamlNode root_;
};

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

std::string syntax_message(std::string what) {
  // It may quote a character of the file.
  std::replace_if(what.begin(), what.end(), is_control, '?');
  if (what.find("alias") != std::string::npos || what.find("anchor") != std::string::npos) {
    return fmt::format("not YAML: {} (put a glob like \"*\" in quotes; aliases and anchors are not used here)", what);
  }
  return fmt::format("not YAML: {}", what);
}

bool is_name_character(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

// `room` is what the environment may still add, in bytes.
void expand(YamlNode& node, Findings& findings, std::size_t& room) {
  std::string out;
  std::size_t at = 0;
  while (at < node.text.size()) {
    const std::string_view rest = std::string_view(node.text).substr(at);
    if (rest.starts_with("$${")) {
      out += "${";
      at += 3;
      continue;
    }
    if (!rest.starts_with("${")) {
      out += node.text[at++];
      continue;
    }
    const std::size_t end = rest.find('}');
    const std::string name(rest.substr(2, end == std::string_view::npos ? 0 : end - 2));
    if (name.empty() || !std::all_of(name.begin(), name.end(), is_name_character)) {
      findings.mistake(
          node,
          "\"${\" begins the name of an environment variable, like \"${NAME}\"; write \"$${\" for the characters");
      return;
    }
    const char* const value = std::getenv(name.c_str());
    if (value == nullptr) {
      findings.mistake(node,
                       fmt::format("the environment has no {}: set it, or write \"$${{\" for the characters", name));
    } else {
      const std::string_view text = value;
      if (text.size() > room) {
        findings.mistake(node,
                         fmt::format("the environment's values make this file larger than {} bytes", kConfigBytesMax));
        return;
      }
      room -= text.size();
      out += text;
    }
    node.is_from_environment = true;
    at += end + 1;
  }
  node.text = std::move(out);
}

void expand_all(YamlNode& node, Findings& findings, std::size_t& room) {
  if (node.kind == YamlNode::Kind::scalar && node.text.find("${") != std::string::npos) expand(node, findings, room);
  for (YamlNode& item : node.items) expand_all(item, findings, room);
  for (YamlEntry& entry : node.entries) expand_all(entry.value, findings, room);
}

}  // namespace

void Findings::mistake(const YamlNode& at, std::string message) {
  for (const ConfigMistake& told : mistakes_) {
    if (told.line == at.line && told.column == at.column) return;
  }
  if (mistakes_.size() < kFindingsMax) mistakes_.push_back({at.line, at.column, std::move(message)});
}

void Findings::mistake(std::string message) {
  if (mistakes_.size() < kFindingsMax) mistakes_.push_back({0, 0, std::move(message)});
}

void Findings::warning(const YamlNode& at, std::string message) {
  if (warnings_.size() < kFindingsMax) warnings_.push_back({at.line, at.column, std::move(message)});
}

void Findings::warning(std::string message) {
  if (warnings_.size() < kFindingsMax) warnings_.push_back({0, 0, std::move(message)});
}

void Findings::move_to(ConfigReading& reading) {
  const auto is_earlier = [](const ConfigMistake& a, const ConfigMistake& b) {
    return std::tie(a.line, a.column) < std::tie(b.line, b.column);
  };
  std::stable_sort(mistakes_.begin(), mistakes_.end(), is_earlier);
  std::stable_sort(warnings_.begin(), warnings_.end(), is_earlier);
  reading.mistakes = std::move(mistakes_);
  reading.warnings = std::move(warnings_);
}

YamlNode read_yaml(std::string_view text, Findings& findings) {
  if (text.size() > kConfigBytesMax) {
    findings.mistake(
        fmt::format("{} bytes are too many for a configuration: {} at most", text.size(), kConfigBytesMax));
    return {};
  }
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos) {
    findings.mistake(fmt::format("not YAML: a zero byte at offset {}", zero));
    return {};
  }
  TreeBuilder builder(findings);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (builder.documents() < 2 && parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    YamlNode at;
    at.line = static_cast<std::size_t>(std::max(error.mark.line, 0)) + 1;
    at.column = static_cast<std::size_t>(std::max(error.mark.column, 0)) + 1;
    findings.mistake(at, syntax_message(error.msg));
    return {};
  }
  return builder.take_root();
}

void put_in_environment(YamlNode& node, Findings& findings) {
  std::size_t room = kConfigBytesMax;
  expand_all(node, findings, room);
}

std::string shown(std::string_view text) {
  constexpr std::size_t kShownBytesMax = 64;
  std::string out = "\"";
  for (const char c : clip(text, kShownBytesMax)) out += is_control(c) ? '?' : c;
  out += text.size() > kShownBytesMax ? "...\"" : "\"";
  return out;
}

std::string_view kind_name(const YamlNode& node) {
  constexpr std::array<std::string_view, 4> kNames = {"nothing", "a text", "a list", "a map"};
  return kNames[static_cast<std::size_t>(node.kind)];
}

std::string shown(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::scalar) return std::string(kind_name(node));
  return node.is_from_environment ? "the value from the environment" : shown(node.text);
}

}  // namespace defib::app
