// The contract's JSON shapes, made from core values: A (agent), N (incident), C (command), history lines.
//
// Fields may be added, none renamed; protocol/openapi.yaml describes them. Used by api/, notify/ and act/.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <string_view>

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

}  // namespace defib::wire
