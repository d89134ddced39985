// The contract's JSON shapes, made from core values: A (agent), N (incident), C (command), history lines.
//
// Fields may be added, none renamed; protocol/openapi.json describes them. Used by api/, notify/ and act/.
// Times are ms since 1970. Whole numbers are written as integers, and text that is not UTF-8 (a program's
// last output may be anything) has U+FFFD in place of each bad byte: what goes out is always good JSON.
#pragma once

#include <string>
#include <string_view>

#include <boost/json.hpp>

#include "core/effect.h"
#include "core/types.h"
#include "core/view.h"

namespace defib::wire {

namespace json = boost::json;

json::object agent_json(const core::AgentView& agent);
json::object incident_json(const core::Incident& incident);
json::object command_json(const core::SendCommand& command);
json::object why_json(const core::Why& why);
json::object history_json(const core::HistoryRecord& record);
// {error, code, hint}
json::object error_json(std::string_view error, std::string_view code, std::string_view hint);

// The guide's row of GET /health/agents: {agentId, state, lastHeartbeat, missedBeats, uptimeSeconds, reason}.
// Straight into text, since a list holds as many rows as there are agents.
void append_health_row(std::string& out, const core::AgentView& agent);
// Appends `text` as a JSON string with its quotes.
void append_json_string(std::string& out, std::string_view text);

}  // namespace defib::wire
