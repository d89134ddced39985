// defib recover, ack, close, ping.
#include <fmt/format.h>
#include <ostream>

#include "app/api_client.h"
#include "app/commands.h"

namespace defib::app {
namespace {

namespace json = boost::json;

int tell_outcome(const ServerFlags& server, const Console& console, const Result<json::value>& answer) {
  if (!answer) return say_no(console, answer.error());
  if (server.is_json) {
    console.out << json::serialize(answer.value()) << '\n';
    return 0;
  }
  const json::object& body = object_of(answer.value());
  const std::int64_t incident = number_of(object_of(body, "incident"), "id");
  console.out << fmt::format(
      "{}{}\n", safe_text(text_of(body, "message")),
      incident == 0 ? "" : fmt::format(" (incident {}: `defib incidents {}`)", incident, incident));
  return 0;
}

std::string kind_path(const PingFlags& flags) {
  switch (flags.kind) {
    case PingKind::start:
      return "/start";
    case PingKind::fail:
      return "/fail";
    case PingKind::log:
      return "/log";
    case PingKind::exit_code:
      return fmt::format("/{}", flags.exit_code);
    case PingKind::beat:
      break;
  }
  return "";
}

std::string ping_path(const PingFlags& flags) {
  std::string path = fmt::format("/ping/{}{}", ApiClient::encode(flags.id), kind_path(flags));
  if (!flags.type.empty()) path += "?type=" + ApiClient::encode(flags.type);
  if (!flags.interval.empty()) path += (flags.type.empty() ? "?interval=" : "&interval=") + flags.interval;
  return path;
}

}  // namespace

int cmd_recover(const RecoverFlags& flags, const Console& console) {
  ApiClient client(flags.server);
  json::object body;
  if (flags.force) body["force"] = true;
  return tell_outcome(flags.server, console,
                      client.post(fmt::format("/v1/agents/{}/recover", ApiClient::encode(flags.id)), body));
}

int cmd_incident_wish(const IncidentWishFlags& flags, const Console& console) {
  ApiClient client(flags.server);
  const std::string_view wish = flags.wish == IncidentWish::acknowledge ? "ack" : "close";
  return tell_outcome(flags.server, console, client.post(fmt::format("/v1/incidents/{}/{}", flags.number, wish), {}));
}

int cmd_ping(const PingFlags& flags, const Console& console) {
  ApiClient client(flags.server);
  const auto answer = client.send("POST", ping_path(flags), "text/plain; charset=utf-8",
                                  flags.kind == PingKind::log ? flags.text : std::string());
  if (!answer) return say_no(console, answer.error());
  if (answer.value().status / 100 != 2) return say_no(console, client.error_of(answer.value()).message);
  if (flags.server.is_json) console.out << json::serialize(json::object{{"accepted", true}}) << '\n';
  return 0;
}

}  // namespace defib::app
