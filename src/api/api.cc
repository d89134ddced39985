#include "api/api.h"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>
#include <utility>

#include <boost/json.hpp>

#include "api/assets.h"
#include "api/parameters.h"
#include "base/ids.h"
#include "base/text.h"
#include "wire/json_views.h"

namespace defib::api {
namespace {

namespace json = boost::json;

// Nothing but our own files, no inline code: a hostile agent's name that got into the page could do nothing.
constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

void respond(const Exchange& exchange, const json::object& body) {
  exchange->respond(json_response(200, json::serialize(body)));
}

void refuse(const Exchange& exchange, unsigned status, std::string_view error, std::string_view code,
            std::string_view hint) {
  exchange->respond(error_response(status, error, code, hint));
}

void refuse_parameter(const Exchange& exchange, std::string_view error) {
  refuse(exchange, 400, error, "bad_parameter", "see /openapi.json");
}

void refuse_unknown_agent(const Exchange& exchange, std::string_view id) {
  // The error's text is the guide's.
  refuse(exchange, 404, "Agent not found", "not_found",
         is_valid_agent_id(id) ? "GET /v1/agents?q=TEXT finds agents by a part of their id" : kAgentIdRule);
}

// The one variable segment of `path`, where it has the pattern's shape.
std::optional<std::string_view> match(std::string_view pattern, std::string_view path) {
  const std::size_t open = pattern.find('{');
  if (open == std::string_view::npos) return pattern == path ? std::optional(std::string_view()) : std::nullopt;
  const std::string_view before = pattern.substr(0, open);
  const std::string_view after = pattern.substr(pattern.find('}') + 1);
  if (path.size() <= before.size() + after.size()) return std::nullopt;
  if (!path.starts_with(before) || !path.ends_with(after)) return std::nullopt;
  const std::string_view segment = path.substr(before.size(), path.size() - before.size() - after.size());
  return segment.find('/') == std::string_view::npos ? std::optional(segment) : std::nullopt;
}

// "application/json", in any case, with or without parameters: no form and no image of a web page can send it.
bool is_json(std::string_view content_type) {
  constexpr std::string_view kJson = "application/json";
  const std::string_view type = content_type.substr(0, std::min(content_type.find(';'), content_type.size()));
  const std::string_view trimmed = type.substr(0, type.find_last_not_of(" \t") + 1);
  return std::equal(trimmed.begin(), trimmed.end(), kJson.begin(), kJson.end(),
                    [](unsigned char a, unsigned char b) { return std::tolower(a) == b; });
}

}  // namespace

struct Api::Route {
  std::string_view method;
  std::string_view pattern;
  void (Api::*handler)(const Exchange&, std::string_view);
};

const std::vector<Api::Route>& Api::table() {
  static const std::vector<Route> kTable = {
      {"GET", "/health/agents", &Api::get_health},
      {"GET", "/health/agents/{id}", &Api::get_health_agent},
      {"GET", "/v1/agents", &Api::get_agents},
      {"GET", "/v1/agents/{id}", &Api::get_agent},
      {"GET", "/v1/agents/{id}/why", &Api::get_why},
      {"POST", "/v1/agents/{id}/recover", &Api::post_recover},
      {"GET", "/v1/incidents", &Api::get_incidents},
      {"GET", "/v1/incidents/{n}", &Api::get_incident},
      {"POST", "/v1/incidents/{n}/ack", &Api::post_acknowledge},
      {"POST", "/v1/incidents/{n}/close", &Api::post_close},
      {"GET", "/v1/events", &Api::get_events},
      {"GET", "/healthz", &Api::get_healthz},
      {"GET", "/readyz", &Api::get_readyz},
      {"GET", "/openapi.json", &Api::get_openapi},
      {"GET", "/", &Api::get_page},
      {"GET", "/page.js", &Api::get_page},
      {"GET", "/page.css", &Api::get_page},
      {"GET", "/favicon.svg", &Api::get_page},
  };
  return kTable;
}

std::vector<Api::RouteName> Api::routes() {
  std::vector<RouteName> out;
  for (const Route& route : table()) out.push_back({route.method, route.pattern});
  return out;
}

Api::Api(const core::View& view, ApiOptions options, ApiDoors doors)
    : view_(view),
      options_(std::move(options)),
      doors_(std::move(doors)),
      auth_(options_.auth),
      lists_(view),
      events_(doors_.history, options_.newest_event) {}

bool Api::admit(net::HttpExchange& exchange) const {
  std::optional<net::HttpResponse> refusal = auth_.refusal(exchange.request());
  if (!refusal) return true;
  exchange.respond(std::move(*refusal));
  return false;
}

void Api::handle(const Exchange& exchange) {
  if (admit(*exchange)) dispatch(exchange);
}

void Api::dispatch(const Exchange& exchange) {
  const net::HttpRequest& request = exchange->request();
  std::string_view allowed;
  for (const Route& route : table()) {
    const auto segment = match(route.pattern, request.path);
    if (!segment) continue;
    if (route.method == request.method) return (this->*route.handler)(exchange, *segment);
    allowed = route.method;
  }
  if (!allowed.empty()) {
    // The server hands a HEAD to us as a GET.
    const std::string allow(allowed == "GET" ? "GET, HEAD" : allowed);
    net::HttpResponse response = error_response(405, fmt::format("{} can't be used here", clip(request.method, 32)),
                                                "wrong_method", fmt::format("use {}", allow));
    response.headers.emplace_back("Allow", allow);
    return exchange->respond(std::move(response));
  }
  std::vector<std::string_view> patterns;
  for (const Route& route : table()) patterns.push_back(route.pattern);
  const std::string_view near = nearest_name(clip(request.path, 256), patterns);
  refuse(exchange, 404, "There is nothing at this path", "no_route",
         near.empty() ? "GET /openapi.json lists all paths" : fmt::format("the nearest path is {}", near));
}

void Api::get_health(const Exchange& exchange, std::string_view) { lists_.health(exchange); }

void Api::get_health_agent(const Exchange& exchange, std::string_view id) {
  const auto agent = view_.agent(doors_.now(), id);
  if (!agent) return refuse_unknown_agent(exchange, id);
  std::string row;
  wire::append_health_row(row, *agent);
  exchange->respond(json_response(200, std::move(row)));
}

void Api::get_agents(const Exchange& exchange, std::string_view) {
  auto page = read_agent_page(exchange->request());
  if (!page) return refuse_parameter(exchange, page.error());
  lists_.agents(exchange, std::move(page).value(), doors_.wall());
}

void Api::get_agent(const Exchange& exchange, std::string_view id) {
  const auto agent = view_.agent(doors_.now(), id);
  if (!agent) return refuse_unknown_agent(exchange, id);
  respond(exchange, wire::agent_json(*agent));
}

void Api::get_why(const Exchange& exchange, std::string_view id) {
  const auto why = view_.why(doors_.now(), id);
  if (!why) return refuse_unknown_agent(exchange, id);
  respond(exchange, wire::why_json(*why));
}

void Api::post_recover(const Exchange& exchange, std::string_view id) {
  if (!is_valid_agent_id(id)) return refuse(exchange, 400, "This can't be an agent's id", "bad_agent_id", kAgentIdRule);
  ask(exchange, {.wish = core::Wish::recover, .agent_id = id});
}

void Api::get_incidents(const Exchange& exchange, std::string_view) {
  const auto page = read_incident_page(exchange->request());
  if (!page) return refuse_parameter(exchange, page.error());
  lists_.incidents(exchange, page.value());
}

void Api::get_incident(const Exchange& exchange, std::string_view number) {
  const auto id = parse_number(number);
  const auto incident = id ? view_.incident(*id) : std::nullopt;
  if (!incident) {
    return refuse(exchange, 404, "Incident not found", "not_found", "GET /v1/incidents lists those that are kept");
  }
  respond(exchange, wire::incident_json(*incident));
}

void Api::post_acknowledge(const Exchange& exchange, std::string_view number) {
  act_on_incident(exchange, number, core::Wish::acknowledge);
}

void Api::post_close(const Exchange& exchange, std::string_view number) {
  act_on_incident(exchange, number, core::Wish::close);
}

void Api::act_on_incident(const Exchange& exchange, std::string_view number, core::Wish wish) {
  const auto id = parse_number(number);
  if (!id || *id == 0) {
    return refuse(exchange, 404, "Incident not found", "not_found", "GET /v1/incidents lists those that are kept");
  }
  ask(exchange, {.wish = wish, .incident = *id});
}

void Api::ask(const Exchange& exchange, const core::OperatorAsked& wish) {
  const net::HttpRequest& request = exchange->request();
  if (!is_json(request.header("content-type"))) {
    return refuse(exchange, 415, "An acting call must say that its body is JSON", "not_json",
                  "send 'Content-Type: application/json'; the body may be empty");
  }
  if (request.body.size() > kActionBytesMax) {
    return refuse(exchange, 413, "The body is too long", "too_long", fmt::format("{} bytes fit", kActionBytesMax));
  }
  const auto asked = read_action(request.body, wish.wish == core::Wish::recover);
  if (!asked) return refuse(exchange, 400, asked.error(), "bad_body", "see /openapi.json");
  core::OperatorAsked whole = wish;
  whole.force = asked.value().force;
  whole.who = request.peer;
  const std::uint64_t id = wishes_.size() < kWishesMax ? doors_.ask(whole) : 0;
  if (id == 0) return refuse(exchange, 503, "Too many wishes are waiting", "busy", "ask again in a second");
  wishes_.emplace(id, exchange);
}

void Api::on_operator_answer(const core::OperatorAnswer& answer) {
  const auto wish = wishes_.find(answer.request);
  if (wish == wishes_.end()) return;  // It came another way, not by HTTP.
  const Exchange exchange = std::move(wish->second);
  wishes_.erase(wish);
  if (answer.status >= 400) return refuse(exchange, answer.status, answer.message, answer.code, answer.hint);
  const auto incident = answer.incident == 0 ? std::nullopt : view_.incident(answer.incident);
  json::object body;
  body["message"] = answer.message;
  body["incident"] = incident ? json::value(wire::incident_json(*incident)) : json::value(nullptr);
  exchange->respond(json_response(answer.status, json::serialize(body)));
}

void Api::on_turn(Instant now) {
  if (lists_.has_work()) lists_.make_slice(now, doors_.wall());
  events_.on_turn(now);
}

void Api::get_events(const Exchange& exchange, std::string_view) {
  const auto asked = read_events(exchange->request());
  if (!asked) return refuse_parameter(exchange, asked.error());
  const EventsAsked& events = asked.value();
  const core::EventId newest = events_.newest();
  // Without a place to begin: what happens from now on, or, where nobody waits for that, the newest lines.
  const std::size_t last = events.last.value_or(events.follow ? 0 : 100);
  const core::EventId after = events.after.value_or(newest - std::min<core::EventId>(newest, last));
  if (events.follow) {
    if (events_.open(*exchange, after, doors_.now())) return;
    return refuse(exchange, 503, "Too many follow the events already", "busy", "close one of the readers");
  }
  std::string body = R"({"events":[)";
  for (const std::string& line : events_.read(after, Lists::kLimitMax)) {
    if (body.back() != '[') body += ',';
    body += line;
  }
  exchange->respond(json_response(200, body + "]}"));
}

void Api::get_healthz(const Exchange& exchange, std::string_view) { respond(exchange, {{"status", "ok"}}); }

void Api::get_readyz(const Exchange& exchange, std::string_view) {
  json::array reasons;
  if (!view_.is_journal_writable()) {
    reasons.push_back({{"code", "journal_not_writable"},
                       {"reason", "the journal can't be written: nothing is recovered, people are told instead"}});
  }
  for (const core::SourceView& source : view_.sources()) {
    if (!source.is_blind) continue;
    const std::string reason = fmt::format("blind at {}: {}", core::name(source.source), source.reason);
    reasons.push_back({{"code", "source_blind"}, {"reason", reason}});
  }
  if (doors_.troubles) {
    for (const std::string& trouble : doors_.troubles()) reasons.push_back({{"code", "trouble"}, {"reason", trouble}});
  }
  const unsigned status = reasons.empty() ? 200 : 503;
  json::object body;
  body["status"] = reasons.empty() ? "ready" : "not_ready";
  body["reasons"] = std::move(reasons);
  body["guard"] = view_.guard_reason();
  body["asOf"] = to_ms(doors_.wall());
  body["version"] = options_.version;
  exchange->respond(json_response(status, json::serialize(body)));
}

void Api::get_openapi(const Exchange& exchange, std::string_view) {
  exchange->respond(json_response(200, std::string(asset("/openapi.json").body)));
}

void Api::get_page(const Exchange& exchange, std::string_view) {
  const Asset file = asset(exchange->request().path);
  exchange->respond({.content_type = std::string(file.content_type),
                     .body = std::string(file.body),
                     .headers = {{"Content-Security-Policy", std::string(kPolicy)},
                                 {"Referrer-Policy", "no-referrer"},
                                 {"Cache-Control", "no-cache"}}});
}

}  // namespace defib::api
