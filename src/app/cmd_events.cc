// defib events [-f].
#include <fmt/format.h>
#include <ostream>

#include "app/api_client.h"
#include "app/commands.h"
#include "base/text.h"

namespace defib::app {
namespace {

namespace json = boost::json;

// "2026-01-02T03:04:05.678Z  agent     failed: planner-1 has failed: silent for 93 s"
std::string line_of(const Console& console, const json::object& event) {
  const std::string what = text_of(event, "what");
  return fmt::format("{}  {:8}  {}: {}\n", toned(console, Tone::faint, iso_time(wall_from_ms(number_of(event, "at")))),
                     safe_text(text_of(event, "kind")), toned(console, tone_of(what), safe_text(what)),
                     safe_text(text_of(event, "text")));
}

int follow(const EventsFlags& flags, ApiClient& client, const Console& console) {
  const auto take = [&](const ApiEvent& event) {
    boost::system::error_code code;
    const json::value value = json::parse(event.data, code);
    if (!code)
      console.out << (flags.server.is_json ? event.data + "\n" : line_of(console, object_of(value))) << std::flush;
    // False once nobody reads: `defib events -f | head` ends.
    return console.out.good();
  };
  const auto told = [&](const std::string& sentence) { console.err << "defib: " << sentence << '\n' << std::flush; };
  const Done ended = client.follow(fmt::format("/v1/events?last={}", flags.last), take, told);
  return ended ? 0 : say_no(console, ended.error());
}

}  // namespace

int cmd_events(const EventsFlags& flags, const Console& console) {
  ApiClient client(flags.server);
  if (flags.follows) return follow(flags, client, console);
  const auto answer = client.get(fmt::format("/v1/events?last={}&follow=false", flags.last));
  if (!answer) return say_no(console, answer.error());
  const json::array& events = list_of(object_of(answer.value()), "events");
  for (const json::value& event : events) {
    console.out << (flags.server.is_json ? json::serialize(event) + "\n" : line_of(console, object_of(event)));
  }
  if (events.empty() && !flags.server.is_json) console.out << "Nothing has happened yet.\n";
  return 0;
}

}  // namespace defib::app
