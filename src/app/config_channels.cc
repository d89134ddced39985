// The `alerts:` section: channels by name. URLs and header values may be secrets and are never shown.
#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "app/config_policy.h"
#include "app/config_section.h"

namespace defib::app {
namespace {

constexpr std::array<std::string_view, 4> kKinds = {"webhook", "slack", "pagerduty", "email"};

bool is_http_url(std::string_view url) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (!url.starts_with(scheme)) continue;
    const std::string_view rest = url.substr(scheme.size());
    return !rest.empty() && rest.front() != '/' && rest.find_first_of(" \"<>\\") == std::string_view::npos;
  }
  return false;
}

// RFC 9110's token: what a header may be called.
bool is_header_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

void read_headers(Findings& findings, const YamlNode& node, ChannelConfig& out) {
  if (node.kind != YamlNode::Kind::map) {
    findings.mistake(node, fmt::format("`headers` is a map of names and values, not {}", kind_name(node)));
    return;
  }
  check_repeated_keys(findings, node);
  for (const auto& [key, value] : node.entries) {
    if (!is_header_name(key.text)) {
      findings.mistake(key, fmt::format("{} is no name of an HTTP header", shown(key)));
    } else if (value.kind != YamlNode::Kind::scalar || !is_plain_text(value.text)) {
      findings.mistake(value, fmt::format("the value of header `{}` is a text without control characters", key.text));
    } else {
      out.headers.emplace_back(key.text, value.text);
    }
  }
}

void read_webhook(Findings& findings, const YamlNode& node, ChannelConfig& out) {
  static constexpr std::array<std::string_view, 2> kKeys = {"url", "headers"};
  const Section section(findings, node, "`webhook`", kKeys, "webhook: {url: \"https://...\"}");
  if (node.kind != YamlNode::Kind::map) return;
  if (section.find("url") == nullptr) {
    findings.mistake(node, "`webhook` needs `url`, the https:// or http:// address that gets the alerts");
  } else if (section.text("url", out.url) && !is_http_url(out.url)) {
    findings.mistake(*section.find("url"), "`url` is an address that begins with https:// or http://");
  }
  if (const YamlNode* const headers = section.find("headers")) read_headers(findings, *headers, out);
}

void read_channel(Findings& findings, const YamlNode& node, ChannelConfig& out) {
  const Section section(findings, node, "a channel", kKinds, "oncall: {webhook: {url: \"https://...\"}}");
  if (node.kind != YamlNode::Kind::map) return;
  if (node.entries.empty()) {
    findings.mistake(node,
                     fmt::format("channel `{}` has no kind: write `webhook: {{url: \"https://...\"}}`", out.name));
  } else if (node.entries.size() > 1) {
    findings.mistake(node.entries[1].key, fmt::format("channel `{}` has more than one kind: one each", out.name));
  }
  for (const std::string_view kind : kKinds) {
    const YamlNode* const body = section.find(kind);
    if (body == nullptr) continue;
    out.kind = kind;
    if (kind == "webhook") {
      read_webhook(findings, *body, out);
    } else {
      findings.mistake(node.entries.front().key,
                       fmt::format("{} channels are not available in this version; `webhook` is", kind));
    }
    return;
  }
}

}  // namespace

bool is_plain_name(std::string_view name) {
  constexpr std::size_t kNameBytesMax = 64;
  return !name.empty() && name.size() <= kNameBytesMax && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

void read_channels(Findings& findings, const YamlNode& node, std::vector<ChannelConfig>& out,
                   std::vector<std::string>& names) {
  constexpr std::size_t kChannelsMax = 64;
  if (node.kind != YamlNode::Kind::map) {
    findings.mistake(
        node,
        fmt::format("`alerts` is a map of channels, not {}: write `oncall: {{webhook: {{url: \"https://...\"}}}}` "
                    "below it",
                    kind_name(node)));
    return;
  }
  if (node.entries.size() > kChannelsMax) {
    findings.mistake(node, fmt::format("{} channels are too many: {} at most", node.entries.size(), kChannelsMax));
    return;
  }
  check_repeated_keys(findings, node);
  for (const auto& [key, value] : node.entries) {
    if (!is_plain_name(key.text)) {
      findings.mistake(key, fmt::format("{} is no name for a channel: 1 to 64 of A-Z a-z 0-9 . _ -", shown(key)));
      continue;
    }
    ChannelConfig channel{.name = key.text};
    read_channel(findings, value, channel);
    names.push_back(channel.name);
    out.push_back(std::move(channel));
  }
}

}  // namespace defib::app
