#include "api/api.h"

#include <gtest/gtest.h>
#include <string>
#include <utility>
#include <vector>

#include "api/test_fakes.h"

namespace defib::api {
namespace {

// An Api whose world stands still, with three agents and two incidents.
class ApiTest : public testing::Test {
 protected:
  ApiTest() {
    core::AgentView& planner = view_.add("planner-1", core::State::healthy);
    planner.type = "planner";
    planner.last_heartbeat = wall_from_ms(1'700'000'000'000);
    planner.reason = "its last beat came 3 s ago";
    view_.add("coder-1", core::State::failed).incident = 2;
    view_.add("coder-2", core::State::stopped);
    for (core::IncidentId id = 1; id <= 2; ++id) {
      core::Incident incident;
      incident.id = id;
      incident.agent_id = "coder-1";
      incident.phase = id == 1 ? core::Phase::closed : core::Phase::told;
      view_.all_incidents.push_back(incident);
    }
  }

  Api make(ApiOptions options = {}) {
    options.version = "0.1.0";
    return {view_,
            std::move(options),
            {.now = [] { return Instant(Duration(1h)); },
             .wall = [] { return wall_from_ms(1'700'000'003'000); },
             .ask =
                 [this](const core::OperatorAsked& asked) {
                   wish_ = asked;
                   wish_agent_ = asked.agent_id;
                   wish_who_ = asked.who;
                   return next_request_;
                 },
             .history =
                 [this](core::EventId after, std::size_t limit) {
                   std::vector<core::HistoryRecord> out;
                   for (const core::HistoryRecord& record : history_) {
                     if (record.id > after && out.size() < limit) out.push_back(record);
                   }
                   return out;
                 },
             .troubles = [this] { return troubles_; }}};
  }

  // Hands over a request and turns until it is answered.
  std::shared_ptr<FakeExchange> ask(Api& api, net::HttpRequest request) {
    auto exchange = std::make_shared<FakeExchange>(std::move(request));
    api.handle(exchange);
    for (int turn = 0; turn < 100 && api.has_work(); ++turn) api.on_turn(Instant(Duration(1h)));
    return exchange;
  }
  std::shared_ptr<FakeExchange> get(std::string_view target) {
    Api api = make();
    return ask(api, make_request("GET", target));
  }
  std::shared_ptr<FakeExchange> post(Api& api, std::string_view path, std::string body = "") {
    net::HttpRequest request = make_request("POST", path, {{"content-type", "application/json; charset=utf-8"}});
    request.body = std::move(body);
    return ask(api, std::move(request));
  }

  FakeView view_;
  std::vector<core::HistoryRecord> history_;
  std::vector<std::string> troubles_;
  std::uint64_t next_request_ = 7;
  core::OperatorAsked wish_;
  std::string wish_agent_;
  std::string wish_who_;
};

TEST_F(ApiTest, HealthListsAllAgentsAndItsCountsAddUp) {
  const auto exchange = get("/health/agents");
  EXPECT_EQ(exchange->answer.status, 200U);
  EXPECT_EQ(exchange->answer.body,
            R"({"total":3,"healthy":1,"missing":0,"failed":1,"stalled":0,"stopped":1,"starting":0,)"
            R"("asOf":1700000003000,"blind":[],"agents":[)"
            R"({"agentId":"planner-1","state":"healthy","lastHeartbeat":1700000000000,"missedBeats":0,)"
            R"("uptimeSeconds":0,"reason":"its last beat came 3 s ago"},)"
            R"({"agentId":"coder-1","state":"failed","lastHeartbeat":0,"missedBeats":0,"uptimeSeconds":0,"reason":""},)"
            R"({"agentId":"coder-2","state":"stopped","lastHeartbeat":0,"missedBeats":0,"uptimeSeconds":0,)"
            R"("reason":""}]})");
}

TEST_F(ApiTest, HealthOfOneAgentHasTheGuidesShape) {
  const auto exchange = get("/health/agents/planner-1");
  EXPECT_EQ(exchange->answer.status, 200U);
  EXPECT_EQ(exchange->answer.body,
            R"({"agentId":"planner-1","state":"healthy","lastHeartbeat":1700000000000,"missedBeats":0,)"
            R"("uptimeSeconds":0,"reason":"its last beat came 3 s ago"})");
}

TEST_F(ApiTest, AnUnknownAgentIs404InTheGuidesWords) {
  for (const char* target : {"/health/agents/nobody", "/v1/agents/nobody", "/v1/agents/nobody/why"}) {
    const auto exchange = get(target);
    EXPECT_EQ(exchange->answer.status, 404U) << target;
    EXPECT_EQ(exchange->json().at("error").as_string(), "Agent not found");
    EXPECT_EQ(exchange->json().at("code").as_string(), "not_found");
    EXPECT_FALSE(exchange->json().at("hint").as_string().empty());
  }
  EXPECT_NE(get("/health/agents/-x")->json().at("hint").as_string().find("1 to 128"), std::string::npos);
}

TEST_F(ApiTest, AgentsAreFilteredAndPaged) {
  const auto all = get("/v1/agents")->json();
  EXPECT_EQ(all.at("asOf").as_int64(), 1'700'000'003'000);
  EXPECT_EQ(all.at("agents").as_array().size(), 3U);
  EXPECT_TRUE(all.at("next").is_null());
  EXPECT_EQ(all.at("counts").at("total").to_number<int>(), 3);

  EXPECT_EQ(get("/v1/agents?state=failed")->json().at("agents").at(0).at("agentId").as_string(), "coder-1");
  EXPECT_EQ(get("/v1/agents?type=planner")->json().at("agents").as_array().size(), 1U);
  EXPECT_EQ(get("/v1/agents?q=coder")->json().at("agents").as_array().size(), 2U);

  const auto first = get("/v1/agents?limit=2")->json();
  EXPECT_EQ(first.at("agents").as_array().size(), 2U);
  const std::string next(first.at("next").as_string());
  const auto second = get("/v1/agents?limit=2&cursor=" + next)->json();
  EXPECT_EQ(second.at("agents").at(0).at("agentId").as_string(), "coder-2");
  EXPECT_TRUE(second.at("next").is_null());
}

TEST_F(ApiTest, ABlindSourceIsToldBesideWhatItCanNotSee) {
  view_.all_sources = {{.source = core::Source::redis, .is_blind = true, .reason = "no canary for 10 s"}};
  EXPECT_EQ(get("/v1/agents")->json().at("blind").at(0).as_string(), "redis");
  EXPECT_EQ(get("/health/agents")->json().at("blind").at(0).as_string(), "redis");
}

TEST_F(ApiTest, ABadParameterIsToldWhatIsAllowed) {
  for (const char* target :
       {"/v1/agents?state=dead", "/v1/agents?limit=0", "/v1/incidents?state=some", "/v1/events?after=x"}) {
    const auto exchange = get(target);
    EXPECT_EQ(exchange->answer.status, 400U) << target;
    EXPECT_EQ(exchange->json().at("code").as_string(), "bad_parameter");
  }
  EXPECT_NE(get("/v1/agents?stat=failed")->json().at("error").as_string().find("did you mean 'state'?"),
            std::string::npos);
}

TEST_F(ApiTest, OneAgentAndItsWhy) {
  EXPECT_EQ(get("/v1/agents/coder-1")->json().at("incident").to_number<int>(), 2);
  view_.reasons["coder-1"] = {.agent_id = "coder-1", .sentence = "no beat for 93 s"};
  EXPECT_EQ(get("/v1/agents/coder-1/why")->json().at("why").as_string(), "no beat for 93 s");
}

TEST_F(ApiTest, IncidentsComeNewestFirstByState) {
  const auto all = get("/v1/incidents")->json();
  EXPECT_EQ(all.at("incidents").as_array().size(), 2U);
  EXPECT_EQ(all.at("incidents").at(0).at("id").to_number<int>(), 2);
  EXPECT_TRUE(all.at("next").is_null());
  EXPECT_EQ(get("/v1/incidents?state=open")->json().at("incidents").at(0).at("id").to_number<int>(), 2);
  EXPECT_EQ(get("/v1/incidents?state=closed")->json().at("incidents").at(0).at("id").to_number<int>(), 1);
  const auto page = get("/v1/incidents?limit=1")->json();
  EXPECT_EQ(page.at("next").as_string(), "2");
  EXPECT_EQ(get("/v1/incidents?limit=1&cursor=2")->json().at("incidents").at(0).at("id").to_number<int>(), 1);
  EXPECT_EQ(get("/v1/incidents/2")->json().at("agentId").as_string(), "coder-1");
  EXPECT_EQ(get("/v1/incidents/3")->answer.status, 404U);
  EXPECT_EQ(get("/v1/incidents/x")->answer.status, 404U);
}

TEST_F(ApiTest, RecoverAsksTheCoreAndAnswersWithItsWord) {
  Api api = make();
  const auto exchange = post(api, "/v1/agents/coder-1/recover", R"({"force":true})");
  EXPECT_EQ(exchange->answers, 0);
  EXPECT_EQ(wish_.wish, core::Wish::recover);
  EXPECT_EQ(wish_agent_, "coder-1");
  EXPECT_EQ(wish_who_, "127.0.0.1");
  EXPECT_TRUE(wish_.force);
  api.on_operator_answer({.request = 7, .status = 200, .message = "recovery begins", .incident = 2});
  EXPECT_EQ(exchange->answers, 1);
  EXPECT_EQ(exchange->json().at("message").as_string(), "recovery begins");
  EXPECT_EQ(exchange->json().at("incident").at("id").to_number<int>(), 2);
  api.on_operator_answer({.request = 7});
  EXPECT_EQ(exchange->answers, 1) << "a wish is answered once";
}

TEST_F(ApiTest, RecoveringAHealthyAgentIsTheCoresConflict) {
  Api api = make();
  const auto exchange = post(api, "/v1/agents/planner-1/recover");
  EXPECT_FALSE(wish_.force);
  api.on_operator_answer(
      {.request = 7, .status = 409, .code = "not_failed", .message = "It is healthy", .hint = "send force"});
  EXPECT_EQ(exchange->answer.status, 409U);
  EXPECT_EQ(exchange->answer.body, R"({"error":"It is healthy","code":"not_failed","hint":"send force"})");
}

TEST_F(ApiTest, IncidentsAreAcknowledgedAndClosed) {
  Api api = make();
  post(api, "/v1/incidents/2/ack", "{}");
  EXPECT_EQ(wish_.wish, core::Wish::acknowledge);
  EXPECT_EQ(wish_.incident, 2U);
  next_request_ = 8;
  post(api, "/v1/incidents/1/close");
  EXPECT_EQ(wish_.wish, core::Wish::close);
  EXPECT_EQ(wish_.incident, 1U);
  EXPECT_EQ(post(api, "/v1/incidents/x/close")->answer.status, 404U);
}

TEST_F(ApiTest, AnActingCallMustSayJson) {
  Api api = make();
  for (const char* type : {"", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"}) {
    const auto exchange = ask(api, make_request("POST", "/v1/agents/coder-1/recover", {{"content-type", type}}));
    EXPECT_EQ(exchange->answer.status, 415U) << type;
  }
  EXPECT_EQ(wish_agent_, "") << "nothing may reach the core";
}

TEST_F(ApiTest, AnActingCallsBodyIsReadStrictly) {
  Api api = make();
  EXPECT_EQ(post(api, "/v1/agents/coder-1/recover", "{")->answer.status, 400U);
  EXPECT_EQ(post(api, "/v1/agents/coder-1/recover", R"({"forced":true})")->answer.status, 400U);
  EXPECT_EQ(post(api, "/v1/agents/coder-1/recover", R"({"force":1})")->answer.status, 400U);
  EXPECT_EQ(post(api, "/v1/incidents/2/close", R"({"force":true})")->answer.status, 400U);
  EXPECT_EQ(post(api, "/v1/agents/-rf/recover")->json().at("code").as_string(), "bad_agent_id");
  EXPECT_EQ(post(api, "/v1/agents/coder-1/recover", std::string(5000, ' '))->answer.status, 413U);
  EXPECT_EQ(wish_agent_, "");
}

TEST_F(ApiTest, WishesHaveABound) {
  Api api = make();
  for (next_request_ = 1; next_request_ <= Api::kWishesMax; ++next_request_) post(api, "/v1/incidents/2/ack");
  EXPECT_EQ(post(api, "/v1/incidents/2/ack")->answer.status, 503U);
  api.on_operator_answer({.request = 1});
  EXPECT_EQ(post(api, "/v1/incidents/2/ack")->answers, 0) << "there is room again";
  next_request_ = 0;
  api.on_operator_answer({.request = 2});
  EXPECT_EQ(post(api, "/v1/incidents/2/ack")->answer.status, 503U) << "the core takes no more events";
}

TEST_F(ApiTest, HealthzIsOpenAndReadyzGivesItsReasons) {
  EXPECT_EQ(get("/healthz")->answer.body, R"({"status":"ok"})");
  EXPECT_EQ(get("/readyz")->answer.status, 200U);
  EXPECT_EQ(get("/readyz")->json().at("status").as_string(), "ready");
  view_.is_writable = false;
  view_.all_sources = {{.source = core::Source::endpoint},
                       {.source = core::Source::redis, .is_blind = true, .reason = "no canary for 10 s"}};
  view_.guard = "5 of 9 agents failed within 30 s";
  troubles_ = {"the disk is nearly full"};
  const auto exchange = get("/readyz");
  EXPECT_EQ(exchange->answer.status, 503U);
  const auto body = exchange->json();
  EXPECT_EQ(body.at("status").as_string(), "not_ready");
  ASSERT_EQ(body.at("reasons").as_array().size(), 3U);
  EXPECT_EQ(body.at("reasons").at(0).at("code").as_string(), "journal_not_writable");
  EXPECT_EQ(body.at("reasons").at(1).at("reason").as_string(), "blind at redis: no canary for 10 s");
  EXPECT_EQ(body.at("reasons").at(2).at("reason").as_string(), "the disk is nearly full");
  EXPECT_EQ(body.at("guard").as_string(), "5 of 9 agents failed within 30 s");
}

TEST_F(ApiTest, ThePageMayLoadNothingButItsOwnFiles) {
  for (const char* target : {"/", "/page.js", "/page.css", "/favicon.svg"}) {
    const auto exchange = get(target);
    EXPECT_EQ(exchange->answer.status, 200U) << target;
    EXPECT_FALSE(exchange->answer.body.empty()) << target;
    const std::string policy = exchange->header("Content-Security-Policy");
    EXPECT_NE(policy.find("default-src 'none'; script-src 'self';"), std::string::npos);
    EXPECT_EQ(policy.find("unsafe"), std::string::npos);
  }
  EXPECT_EQ(get("/")->answer.content_type, "text/html; charset=utf-8");
}

// Inline code would be dead under the policy above, and a foreign file would not load.
TEST_F(ApiTest, ThePageHasNoInlineCodeAndNoForeignFile) {
  const std::string html = get("/")->answer.body;
  for (const char* wrong : {"<script>", " onclick", " style=", "<style", "http://", "https://"}) {
    EXPECT_EQ(html.find(wrong), std::string::npos) << wrong;
  }
  const std::string script = get("/page.js")->answer.body;
  for (const char* wrong : {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://",
                            "https://", "localStorage", "sessionStorage"}) {
    EXPECT_EQ(script.find(wrong), std::string::npos) << wrong;
  }
}

TEST_F(ApiTest, AnUnknownPathHintsAtTheNearest) {
  const auto exchange = get("/v1/agent");
  EXPECT_EQ(exchange->answer.status, 404U);
  EXPECT_EQ(exchange->json().at("code").as_string(), "no_route");
  EXPECT_EQ(exchange->json().at("hint").as_string(), "the nearest path is /v1/agents");
  EXPECT_EQ(get("/v1/agents/a/b")->answer.status, 404U);
  EXPECT_EQ(get("/v1/agents/")->answer.status, 404U);
}

TEST_F(ApiTest, AWrongMethodIsToldTheRightOne) {
  Api api = make();
  const auto exchange = ask(api, make_request("DELETE", "/v1/agents/coder-1"));
  EXPECT_EQ(exchange->answer.status, 405U);
  EXPECT_EQ(exchange->header("Allow"), "GET, HEAD");
  const auto recover = ask(api, make_request("GET", "/v1/agents/coder-1/recover"));
  EXPECT_EQ(recover->answer.status, 405U);
  EXPECT_EQ(recover->header("Allow"), "POST");
}

TEST_F(ApiTest, NothingIsDoneForAForeignCaller) {
  Api api = make();
  const auto exchange = ask(api, make_request("POST", "/v1/agents/coder-1/recover",
                                              {{"host", "evil.example"}, {"content-type", "application/json"}}));
  EXPECT_EQ(exchange->answer.status, 403U);
  EXPECT_EQ(exchange->json().at("code").as_string(), "foreign_host");
  EXPECT_EQ(wish_agent_, "");
  FakeExchange beat(make_request("POST", "/v1/heartbeats", {{"origin", "http://evil.example"}}));
  EXPECT_FALSE(api.admit(beat));
  EXPECT_EQ(beat.answer.status, 403U);
}

TEST_F(ApiTest, AdmittedRequestsAreLeftUnanswered) {
  Api api = make();
  FakeExchange beat(make_request("POST", "/v1/heartbeats"));
  EXPECT_TRUE(api.admit(beat));
  EXPECT_EQ(beat.answers, 0);
}

core::HistoryRecord line(core::EventId id) {
  return {.id = id, .kind = core::EventKind::agent, .agent_id = "a", .what = "missing", .text = "no beat"};
}

TEST_F(ApiTest, EventsBeginWhereTheReaderAsks) {
  for (core::EventId id = 1; id <= 5; ++id) history_.push_back(line(id));
  Api api = make({.newest_event = 5});
  const auto count = [](const FakeExchange& exchange) {
    std::size_t lines = 0;
    for (std::size_t at = 0; (at = exchange.stream->sent.find("\nid: ", at)) != std::string::npos; ++at) ++lines;
    return lines;
  };
  EXPECT_EQ(count(*ask(api, make_request("GET", "/v1/events"))), 0U);
  EXPECT_EQ(count(*ask(api, make_request("GET", "/v1/events?after=2"))), 3U);
  EXPECT_EQ(count(*ask(api, make_request("GET", "/v1/events?last=4"))), 4U);
  EXPECT_EQ(count(*ask(api, make_request("GET", "/v1/events?after=0", {{"last-event-id", "4"}}))), 1U);
  const auto live = ask(api, make_request("GET", "/v1/events?last=0"));
  api.on_announce(line(6));
  EXPECT_TRUE(api.has_work());
  api.on_turn(Instant(Duration(1h)));
  EXPECT_NE(live->stream->sent.find("id: 6\nevent: agent\ndata: {"), std::string::npos);
}

TEST_F(ApiTest, EventsWithoutFollowingAreOneAnswer) {
  for (core::EventId id = 1; id <= 5; ++id) history_.push_back(line(id));
  Api api = make({.newest_event = 5});
  const auto exchange = ask(api, make_request("GET", "/v1/events?follow=false&last=2"));
  const auto body = exchange->json();
  ASSERT_EQ(body.at("events").as_array().size(), 2U);
  EXPECT_EQ(body.at("events").at(0).at("id").to_number<int>(), 4);
  EXPECT_EQ(ask(api, make_request("GET", "/v1/events?follow=false"))->json().at("events").as_array().size(), 5U);
}

TEST_F(ApiTest, FollowersHaveABound) {
  Api api = make();
  std::vector<std::shared_ptr<FakeExchange>> readers;
  for (std::size_t i = 0; i < EventFeed::kReadersMax; ++i) {
    readers.push_back(ask(api, make_request("GET", "/v1/events")));
  }
  EXPECT_EQ(ask(api, make_request("GET", "/v1/events"))->answer.status, 503U);
  readers[17]->stream->close();
  EXPECT_NE(ask(api, make_request("GET", "/v1/events"))->stream, nullptr);
}

}  // namespace
}  // namespace defib::api
