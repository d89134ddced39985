// The sections `policies:` (with match, stall, recovery and limits) and `alerts:` of the configuration.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "app/config.h"
#include "app/yaml_tree.h"
#include "core/policy.h"

namespace defib::app {

// `channels` are the names that an alert step may send to.
void read_policies(Findings& findings, const YamlNode& node, std::span<const std::string> channels,
                   std::vector<core::Policy>& out);

// One policy's `recovery:`, a list of steps; "[]" means verdicts only.
void read_ladder(Findings& findings, const YamlNode& node, std::span<const std::string> channels,
                 std::vector<core::Step>& out);

// `names` gets every channel that is named, also those with mistakes, so that one mistake is told once.
void read_channels(Findings& findings, const YamlNode& node, std::vector<ChannelConfig>& out,
                   std::vector<std::string>& names);

// 1 to 64 of A-Z a-z 0-9 . _ -: channel names, and the namespace.
bool is_plain_name(std::string_view name);

}  // namespace defib::app
