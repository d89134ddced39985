// What callers may ask for: query parameters and bodies, read strictly. A misspelled filter that was
// silently ignored would answer another question, so every error says what is allowed.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "api/lists.h"
#include "base/result.h"
#include "net/http_server.h"

namespace defib::api {

// ?state=&type=&q=&limit=&cursor=
Result<AgentPage> read_agent_page(const net::HttpRequest& request);

// ?state=open|closed|all&limit=&cursor=
Result<IncidentPage> read_incident_page(const net::HttpRequest& request);

struct EventsAsked {
  std::optional<core::EventId> after;  // Begin behind this id. The Last-Event-ID header beats `after`.
  std::optional<std::size_t> last;     // Or with so many of the newest lines, 0 to 1000.
  bool follow = true;                  // Else the lines there are, as one JSON answer.
};
Result<EventsAsked> read_events(const net::HttpRequest& request);

// The body of an acting call: empty or an object. `force` where `may_force`, nothing else.
struct ActionAsked {
  bool force = false;
};
Result<ActionAsked> read_action(std::string_view body, bool may_force);

// Decimal digits only, without sign; nullopt for anything else.
std::optional<std::uint64_t> parse_number(std::string_view text);

}  // namespace defib::api
