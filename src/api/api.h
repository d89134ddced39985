// The HTTP room: routes requests to the core's view, wishes to the core, and history to readers.
//
// Owns no socket: net::HttpServer hands it exchanges, app/daemon.cc calls it on the loop thread. In a turn:
// handle() for each request, then after the step on_announce() and on_operator_answer() for its effects,
// then on_turn(); another turn is wanted at once while has_work(), else at next_wakeup().
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/answers.h"
#include "api/auth.h"
#include "api/events_sse.h"
#include "api/lists.h"
#include "base/time.h"
#include "core/effect.h"
#include "core/event.h"
#include "core/view.h"
#include "net/http_server.h"

namespace defib::api {

struct ApiOptions {
  AuthOptions auth;
  std::string version;
  core::EventId newest_event = 0;  // Snapshot::last_event: what history holds at the start.
};

// The ways out of this room; all are called on the loop thread.
struct ApiDoors {
  std::function<Instant()> now;  // Of this turn.
  std::function<WallTime()> wall;
  // Puts the wish among the turn's events and returns its request id, which is never 0; 0: can't be taken
  // now. Its text is borrowed for the call. The answer must come later, by on_operator_answer().
  std::function<std::uint64_t(core::OperatorAsked)> ask;
  ReadHistory history;  // Journal::history
  // Further reasons not to be ready than the view knows of, a sentence each. May be empty.
  std::function<std::vector<std::string>()> troubles;
};

class Api {
 public:
  // Wishes that wait for the core's answer; one more gets 503.
  static constexpr std::size_t kWishesMax = 1024;
  static constexpr std::size_t kActionBytesMax = 4096;

  Api(const core::View& view, ApiOptions options, ApiDoors doors);

  // False where the request may not go on (host, origin, token); it has its answer then. handle() asks this
  // itself; the daemon must ask it for what another room serves (beats and pings).
  bool admit(net::HttpExchange& exchange) const;
  void handle(const Exchange& exchange);

  void on_announce(const core::HistoryRecord& record) { events_.on_announce(record); }
  void on_operator_answer(const core::OperatorAnswer& answer);
  void on_turn(Instant now);
  bool has_work() const { return lists_.has_work() || events_.has_work(); }
  Instant next_wakeup() const { return events_.next_wakeup(); }

  // All routes, "{id}" and "{n}" standing for one segment, for the test that walks openapi.json.
  struct RouteName {
    std::string_view method;
    std::string_view pattern;
  };
  static std::vector<RouteName> routes();

 private:
  struct Route;
  static const std::vector<Route>& table();
  void dispatch(const Exchange& exchange);

  void get_health(const Exchange& exchange, std::string_view);
  void get_health_agent(const Exchange& exchange, std::string_view id);
  void get_agents(const Exchange& exchange, std::string_view);
  void get_agent(const Exchange& exchange, std::string_view id);
  void get_why(const Exchange& exchange, std::string_view id);
  void post_recover(const Exchange& exchange, std::string_view id);
  void get_incidents(const Exchange& exchange, std::string_view);
  void get_incident(const Exchange& exchange, std::string_view number);
  void post_acknowledge(const Exchange& exchange, std::string_view number);
  void post_close(const Exchange& exchange, std::string_view number);
  void get_events(const Exchange& exchange, std::string_view);
  void get_healthz(const Exchange& exchange, std::string_view);
  void get_readyz(const Exchange& exchange, std::string_view);
  void get_openapi(const Exchange& exchange, std::string_view);
  void get_page(const Exchange& exchange, std::string_view);

  void act_on_incident(const Exchange& exchange, std::string_view number, core::Wish wish);
  void ask(const Exchange& exchange, const core::OperatorAsked& wish);

  const core::View& view_;
  const ApiOptions options_;
  const ApiDoors doors_;
  const Auth auth_;
  Lists lists_;
  EventFeed events_;
  std::unordered_map<std::uint64_t, Exchange> wishes_;
};

}  // namespace defib::api
