// defib agents, agent, why, incidents.
#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <ostream>

#include "app/api_client.h"
#include "app/commands.h"
#include "base/text.h"
#include "net/loop.h"

namespace defib::app {
namespace {

namespace json = boost::json;

constexpr std::size_t kPageRows = 1000;  // The most that the API gives at once.

void print_json(const Console& console, const json::value& value) { console.out << json::serialize(value) << '\n'; }

std::int64_t wall_now_ms() { return to_ms(net::read_wall()); }

// `next` as it goes into a query; "" at the end.
std::string cursor_of(const json::object& page) {
  const json::value* const next = page.if_contains("next");
  if (next == nullptr || next->is_null()) return "";
  return next->is_string() ? std::string(next->get_string()) : json::serialize(*next);
}

struct Listed {
  json::array rows;
  std::int64_t as_of_ms = 0;
  bool has_more = false;
};

// All pages of a list, up to `limit` rows. `path` ends with '?' or '&'.
Result<Listed> list_all(ApiClient& client, const std::string& path, std::string_view key, std::size_t limit) {
  Listed out;
  std::string cursor;
  do {
    const std::size_t rows = std::min(kPageRows, limit - out.rows.size());
    const auto page = client.get(
        fmt::format("{}limit={}{}", path, rows, cursor.empty() ? "" : "&cursor=" + ApiClient::encode(cursor)));
    if (!page) return Error{page.error()};
    const json::object& object = object_of(page.value());
    for (const json::value& row : list_of(object, key)) out.rows.push_back(row);
    if (out.as_of_ms == 0) out.as_of_ms = number_of(object, "asOf");
    std::string next = cursor_of(object);
    out.has_more = !next.empty();
    // A cursor that does not move would be asked for for ever.
    if (next == cursor) break;
    cursor = std::move(next);
  } while (!cursor.empty() && out.rows.size() < limit);
  return out;
}

std::string task_of(const json::object& agent) {
  const std::string task = text_of(agent, "currentTask");
  const json::value* const progress = agent.if_contains("taskProgress");
  if (task.empty() || progress == nullptr || !progress->is_number()) return task;
  return fmt::format("{} ({} %)", task, number_of(agent, "taskProgress"));
}

// What a person wants to know of it: what it does while it is well, else why it is not.
std::string what_of(const json::object& agent) {
  const std::string task = task_of(agent);
  return text_of(agent, "state") == "healthy" && !task.empty() ? task : text_of(agent, "reason");
}

// The worst first.
std::size_t rank_of(const json::value& agent) {
  constexpr std::array<std::string_view, 6> kOrder = {"failed", "stalled", "missing", "starting", "healthy", "stopped"};
  const std::string state = text_of(object_of(agent), "state");
  return static_cast<std::size_t>(std::find(kOrder.begin(), kOrder.end(), state) - kOrder.begin());
}

// "3 agents: 1 failed, 2 healthy"
std::string summary_of(const json::array& agents) {
  std::string out = fmt::format("{} agent{}", agents.size(), agents.size() == 1 ? "" : "s");
  std::string_view separator = ": ";
  for (auto it = agents.begin(); it != agents.end();) {
    const std::string state = text_of(object_of(*it), "state");
    const auto* const end = std::find_if(
        it, agents.end(), [&](const json::value& agent) { return text_of(object_of(agent), "state") != state; });
    out += fmt::format("{}{} {}", separator, end - it, safe_text(state));
    separator = ", ";
    it = end;
  }
  return out;
}

std::string attempt_line(const Console& console, const json::object& attempt, std::int64_t now_ms) {
  const bool is_pending = attempt.if_contains("isPending") != nullptr && attempt.at("isPending") == json::value(true);
  const std::string result = is_pending ? "under way" : text_of(attempt, "result");
  const std::string with = text_of(attempt, "with");
  return fmt::format("  {}. {}{}, {}: {}{}\n", number_of(attempt, "n"), safe_text(text_of(attempt, "step")),
                     with.empty() ? "" : " by " + safe_text(with), human_age(now_ms, number_of(attempt, "startedAt")),
                     toned(console, tone_of(result), safe_text(result)),
                     text_of(attempt, "detail").empty() ? "" : ": " + safe_text(text_of(attempt, "detail")));
}

void print_incident(const Console& console, const json::object& incident) {
  const std::int64_t now_ms = wall_now_ms();
  const std::string state = text_of(incident, "state");
  console.out << fmt::format("Incident {} of {} is {}\n", number_of(incident, "id"),
                             safe_text(text_of(incident, "agentId")), toned(console, tone_of(state), safe_text(state)));
  std::vector<Fact> facts = {{"verdict", text_of(incident, "verdict"), Tone::bad},
                             {"evidence", text_of(incident, "evidence")},
                             {"opened", human_age(now_ms, number_of(incident, "openedAt"))}};
  if (state == "closed") {
    facts.push_back({"closed", human_age(now_ms, number_of(incident, "closedAt"))});
    facts.push_back({"outcome", text_of(incident, "outcome")});
  } else {
    facts.push_back({"now", fmt::format("{}: {}", text_of(incident, "phase"), text_of(incident, "phaseReason"))});
  }
  console.out << print_facts(console, facts);
  const json::array& attempts = list_of(incident, "attempts");
  console.out << (attempts.empty() ? "Nothing was tried.\n" : "Tried:\n");
  for (const json::value& attempt : attempts) console.out << attempt_line(console, object_of(attempt), now_ms);
  const std::string tail = text_of(incident, "outputTail");
  if (tail.empty()) return;
  console.out << "Its last output:\n";
  for (std::size_t at = 0; at < tail.size();) {
    const std::size_t end = std::min(tail.find('\n', at), tail.size());
    console.out << "  | " << safe_text(std::string_view(tail).substr(at, end - at)) << '\n';
    at = end + 1;
  }
}

// The result of the last attempt, or how it ended.
std::string tried(const json::object& incident) {
  const json::array& attempts = list_of(incident, "attempts");
  if (attempts.empty()) return "nothing";
  const json::object& last = object_of(attempts.back());
  const bool is_pending = last.if_contains("isPending") != nullptr && last.at("isPending") == json::value(true);
  return fmt::format("{}x, {} {}", attempts.size(), text_of(last, "step"),
                     is_pending ? "under way" : text_of(last, "result"));
}

}  // namespace

int cmd_agents(const AgentsFlags& flags, const Console& console) {
  ApiClient client(flags.server);
  std::string path = "/v1/agents?";
  if (!flags.state.empty()) path += fmt::format("state={}&", flags.state);
  if (!flags.type.empty()) path += fmt::format("type={}&", ApiClient::encode(flags.type));
  if (!flags.text.empty()) path += fmt::format("q={}&", ApiClient::encode(flags.text));
  Result<Listed> listed = list_all(client, path, "agents", flags.limit);
  if (!listed) return say_no(console, listed.error());
  Listed& list = listed.value();
  if (flags.server.is_json) {
    print_json(console, {{"asOf", list.as_of_ms}, {"agents", std::move(list.rows)}, {"more", list.has_more}});
    return 0;
  }
  if (list.rows.empty()) {
    console.out << (path.ends_with('?') ? "No agent has been heard of yet.\n" : "No agent is like that.\n");
    return 0;
  }
  std::stable_sort(list.rows.begin(), list.rows.end(),
                   [](const json::value& a, const json::value& b) { return rank_of(a) < rank_of(b); });
  Table table({"STATE", "AGENT", "TYPE", "LAST BEAT", "INCIDENT", "WHAT"});
  for (const json::value& row : list.rows) {
    const json::object& agent = object_of(row);
    const std::string state = text_of(agent, "state");
    const std::int64_t incident = number_of(agent, "incident");
    table.add({{state, tone_of(state)},
               {text_of(agent, "agentId")},
               {text_of(agent, "agentType")},
               {human_age(list.as_of_ms, number_of(agent, "lastHeartbeat"))},
               {incident == 0 ? "" : std::to_string(incident)},
               {what_of(agent)}});
  }
  console.out << table.print(console) << summary_of(list.rows) << '\n';
  if (list.has_more) console.out << fmt::format("There are more; --limit {} shows them.\n", flags.limit * 10);
  return 0;
}

int cmd_agent(const AgentFlags& flags, const Console& console) {
  ApiClient client(flags.server);
  const auto answer = client.get("/v1/agents/" + ApiClient::encode(flags.id));
  if (!answer) return say_no(console, answer.error());
  if (flags.server.is_json) {
    print_json(console, answer.value());
    return 0;
  }
  const json::object& agent = object_of(answer.value());
  const std::string state = text_of(agent, "state");
  console.out << fmt::format("{} is {}: {}\n", safe_text(flags.id), toned(console, tone_of(state), safe_text(state)),
                             safe_text(text_of(agent, "reason")));
  std::vector<Fact> facts;
  const auto add = [&facts](const char* name, std::string value) {
    if (!value.empty()) facts.push_back({name, std::move(value)});
  };
  const auto text = [&](const char* name, const char* key) { add(name, text_of(agent, key)); };
  const json::object& activity = object_of(agent, "activity");
  const json::object& progress = object_of(agent, "progress");
  const std::int64_t pid = number_of(agent, "pid");
  const std::int64_t incident = number_of(agent, "incident");
  text("type", "agentType");
  add("last beat", human_age(wall_now_ms(), number_of(agent, "lastHeartbeat")));
  add("interval", human_duration(from_ms(number_of(agent, "intervalMs"))));
  add("up for", human_duration(std::chrono::seconds(
                    std::clamp<std::int64_t>(number_of(agent, "uptimeSeconds"), 0, 4'000'000'000))));
  text("status", "status");
  add("activity", text_of(activity, "kind") +
                      (text_of(activity, "operation").empty() ? "" : ": " + text_of(activity, "operation")));
  add("task", task_of(agent));
  if (!progress.empty()) add("progress", fmt::format("{} {}", number_of(progress, "seq"), text_of(progress, "action")));
  text("instance", "instanceId");
  text("host", "host");
  if (pid != 0) add("pid", std::to_string(pid));
  text("policy", "policy");
  if (incident != 0) add("incident", std::to_string(incident));
  console.out << print_facts(console, facts);
  return 0;
}

int cmd_why(const WhyFlags& flags, const Console& console) {
  ApiClient client(flags.server);
  const auto answer = client.get(fmt::format("/v1/agents/{}/why", ApiClient::encode(flags.id)));
  if (!answer) return say_no(console, answer.error());
  if (flags.server.is_json) {
    print_json(console, answer.value());
    return 0;
  }
  const json::object& why = object_of(answer.value());
  // The monitor's sentence begins with the agent and its state.
  console.out << toned(console, tone_of(text_of(why, "state")), safe_text(text_of(why, "why"))) << '\n';
  const std::int64_t since_ms = number_of(why, "since");
  std::vector<Fact> facts = {
      {"since", fmt::format("{}, {}", human_age(wall_now_ms(), since_ms), iso_time(wall_from_ms(since_ms)))}};
  for (const json::value& fact : list_of(why, "facts")) {
    facts.push_back({safe_text(text_of(object_of(fact), "name")), text_of(object_of(fact), "value")});
  }
  console.out << print_facts(console, facts);
  const json::array& next = list_of(why, "next");
  if (!next.empty()) console.out << "What comes next:\n";
  for (const json::value& value : next) {
    const json::object& step = object_of(value);
    const std::string to = text_of(step, "state");
    const json::value* const in = step.if_contains("inMs");
    const std::string when =
        in != nullptr && in->is_number() ? fmt::format(" in {}", human_duration(from_ms(number_of(step, "inMs")))) : "";
    console.out << fmt::format("  {}{}: {}\n", toned(console, tone_of(to), safe_text(to)), when,
                               safe_text(text_of(step, "when")));
  }
  return 0;
}

int cmd_incidents(const IncidentsFlags& flags, const Console& console) {
  ApiClient client(flags.server);
  if (flags.number != 0) {
    const auto answer = client.get(fmt::format("/v1/incidents/{}", flags.number));
    if (!answer) return say_no(console, answer.error());
    if (flags.server.is_json) {
      print_json(console, answer.value());
    } else {
      print_incident(console, object_of(answer.value()));
    }
    return 0;
  }
  Result<Listed> listed =
      list_all(client, fmt::format("/v1/incidents?state={}&", flags.state), "incidents", flags.limit);
  if (!listed) return say_no(console, listed.error());
  Listed& list = listed.value();
  if (flags.server.is_json) {
    print_json(console, {{"incidents", std::move(list.rows)}, {"more", list.has_more}});
    return 0;
  }
  if (list.rows.empty()) {
    console.out << (flags.state == "open" ? "No incident is open.\n" : "There is no incident.\n");
    return 0;
  }
  const std::int64_t now_ms = wall_now_ms();
  Table table({"NUMBER", "STATE", "AGENT", "VERDICT", "OPENED", "TRIED", "OUTCOME OR EVIDENCE"});
  for (const json::value& row : list.rows) {
    const json::object& incident = object_of(row);
    const std::string state = text_of(incident, "state");
    table.add({{std::to_string(number_of(incident, "id"))},
               {state, tone_of(state)},
               {text_of(incident, "agentId")},
               {text_of(incident, "verdict")},
               {human_age(now_ms, number_of(incident, "openedAt"))},
               {tried(incident)},
               {text_of(incident, state == "closed" ? "outcome" : "evidence")}});
  }
  console.out << table.print(console);
  if (list.has_more) console.out << fmt::format("There are more; --limit {} shows them.\n", flags.limit * 10);
  return 0;
}

}  // namespace defib::app
