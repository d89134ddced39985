#include "api/parameters.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <limits>
#include <span>
#include <string>

#include <boost/json.hpp>

#include "base/text.h"

namespace defib::api {
namespace {

constexpr std::size_t kTextBytesMax = 128;

std::optional<Error> check_names(const net::HttpRequest& request, std::span<const std::string_view> allowed) {
  for (std::size_t i = 0; i < request.query.size(); ++i) {
    const std::string& parameter = request.query[i].first;
    if (std::find(allowed.begin(), allowed.end(), parameter) == allowed.end()) {
      const std::string_view near = nearest_name(parameter, allowed);
      return Error{fmt::format("there is no parameter '{}'{}; allowed are {}", clip(parameter, 64),
                               near.empty() ? "" : fmt::format(", did you mean '{}'?", near),
                               fmt::join(allowed, ", "))};
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (request.query[j].first == parameter) return Error{fmt::format("'{}' is given twice", parameter)};
    }
  }
  return std::nullopt;
}

// An absent or empty parameter, as forms send it, is nullopt.
Result<std::optional<std::uint64_t>> read_number(const net::HttpRequest& request, std::string_view parameter,
                                                 std::uint64_t low, std::uint64_t high) {
  if (request.parameter(parameter).empty()) return std::optional<std::uint64_t>();
  const auto number = parse_number(request.parameter(parameter));
  if (!number || *number < low || *number > high) {
    return Error{fmt::format("'{}' must be a number from {} to {}", parameter, low, high)};
  }
  return number;
}

Result<std::size_t> read_limit(const net::HttpRequest& request) {
  const auto limit = read_number(request, "limit", 1, Lists::kLimitMax);
  if (!limit) return Error{limit.error()};
  return static_cast<std::size_t>(limit.value().value_or(100));
}

std::optional<core::State> state_named(std::string_view text) {
  for (std::size_t i = 0; i < core::kStateCount; ++i) {
    const auto state = static_cast<core::State>(i);
    if (core::name(state) == text) return state;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<AgentPage> read_agent_page(const net::HttpRequest& request) {
  static constexpr std::array<std::string_view, 5> kAllowed = {"state", "type", "q", "limit", "cursor"};
  if (auto error = check_names(request, kAllowed)) return *error;
  AgentPage page;
  if (!request.parameter("state").empty()) {
    page.filter.state = state_named(request.parameter("state"));
    if (!page.filter.state) {
      return Error{"'state' must be one of starting, healthy, missing, failed, stalled, stopped"};
    }
  }
  page.filter.type = request.parameter("type");
  page.filter.text = request.parameter("q");
  if (page.filter.type.size() > kTextBytesMax || page.filter.text.size() > kTextBytesMax) {
    return Error{fmt::format("'type' and 'q' may have {} bytes", kTextBytesMax)};
  }
  const auto limit = read_limit(request);
  if (!limit) return Error{limit.error()};
  page.limit = limit.value();
  if (!request.parameter("cursor").empty()) {
    const auto cursor = parse_number(request.parameter("cursor"));
    if (!cursor || *cursor > std::numeric_limits<core::AgentKey>::max()) {
      return Error{"'cursor' must be the 'next' of an earlier page"};
    }
    page.from = static_cast<core::AgentKey>(*cursor);
  }
  return page;
}

Result<IncidentPage> read_incident_page(const net::HttpRequest& request) {
  static constexpr std::array<std::string_view, 3> kAllowed = {"state", "limit", "cursor"};
  if (auto error = check_names(request, kAllowed)) return *error;
  IncidentPage page;
  if (!request.parameter("state").empty()) {
    const std::string_view state = request.parameter("state");
    if (state != "open" && state != "closed" && state != "all") {
      return Error{"'state' must be one of open, closed, all"};
    }
    if (state != "all") page.open = state == "open";
  }
  const auto limit = read_limit(request);
  if (!limit) return Error{limit.error()};
  page.limit = limit.value();
  if (!request.parameter("cursor").empty()) {
    const auto cursor = parse_number(request.parameter("cursor"));
    if (!cursor || *cursor == 0) return Error{"'cursor' must be the 'next' of an earlier page"};
    page.before = *cursor;
  }
  return page;
}

Result<EventsAsked> read_events(const net::HttpRequest& request) {
  static constexpr std::array<std::string_view, 3> kAllowed = {"after", "last", "follow"};
  if (auto error = check_names(request, kAllowed)) return *error;
  EventsAsked asked;
  const auto after = read_number(request, "after", 0, std::numeric_limits<std::uint64_t>::max());
  if (!after) return Error{after.error()};
  asked.after = after.value();
  const auto last = read_number(request, "last", 0, Lists::kLimitMax);
  if (!last) return Error{last.error()};
  if (last.value()) asked.last = static_cast<std::size_t>(*last.value());
  if (!request.parameter("follow").empty()) {
    const std::string_view follow = request.parameter("follow");
    if (follow != "true" && follow != "false") return Error{"'follow' must be true or false"};
    asked.follow = follow == "true";
  }
  if (const std::string_view header = request.header("last-event-id"); !header.empty()) {
    asked.after = parse_number(header);
    if (!asked.after) return Error{"Last-Event-ID must be the decimal id of an event"};
  }
  return asked;
}

Result<ActionAsked> read_action(std::string_view body, bool may_force) {
  ActionAsked asked;
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos) return asked;
  boost::system::error_code code;
  const boost::json::value parsed = boost::json::parse(body, code);
  if (code || !parsed.is_object()) return Error{"the body must be empty or one JSON object"};
  for (const auto& [key, value] : parsed.get_object()) {
    if (!may_force) return Error{fmt::format("there is no field '{}': the object must be empty", clip(key, 64))};
    if (key != "force") return Error{fmt::format("there is no field '{}'; allowed is force", clip(key, 64))};
    if (!value.is_bool()) return Error{"'force' must be true or false"};
    asked.force = value.get_bool();
  }
  return asked;
}

}  // namespace defib::api
