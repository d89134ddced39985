#include "ingest/http_source.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <optional>

#include <boost/json.hpp>

#include "base/ids.h"
#include "net/http_server.h"

namespace defib::ingest {
namespace {

namespace json = boost::json;
using core::Answer;
using testing::ElementsAre;
using testing::HasSubstr;

class FakeExchange final : public net::HttpExchange {
 public:
  explicit FakeExchange(net::HttpRequest request) : request_(std::move(request)) {}
  const net::HttpRequest& request() const override { return request_; }
  void respond(net::HttpResponse response) override {
    EXPECT_FALSE(response_.has_value()) << "answered twice";
    response_ = std::move(response);
    if (response_->content_type == "application/json") body_ = json::parse(response_->body).as_object();
  }
  std::shared_ptr<net::EventStream> start_event_stream() override { return nullptr; }

  bool is_answered() const { return response_.has_value(); }
  const net::HttpResponse& response() const { return response_.value(); }
  unsigned status() const { return response_ ? response_->status : 0; }
  const json::object& body() const { return body_; }
  std::string text(std::string_view key) const { return std::string(body_.at(key).as_string()); }
  std::string header(std::string_view name) const {
    for (const auto& [key, value] : response().headers) {
      if (key == name) return value;
    }
    return "";
  }

 private:
  net::HttpRequest request_;
  std::optional<net::HttpResponse> response_;
  json::object body_;
};

using Sent = std::shared_ptr<FakeExchange>;

class HttpSourceTest : public testing::Test {
 protected:
  Sent send(net::HttpRequest request) {
    auto exchange = std::make_shared<FakeExchange>(std::move(request));
    EXPECT_TRUE(HttpSource::handles(exchange->request()));
    source_.handle(now_, exchange);
    return exchange;
  }
  Sent post(std::string body, std::string type = "application/json") {
    net::HttpRequest request;
    request.method = "POST";
    request.path = "/v1/heartbeats";
    request.headers = {{"content-type", std::move(type)}};
    request.body = std::move(body);
    return send(std::move(request));
  }
  Sent ping(std::string path, std::string body = "", std::vector<std::pair<std::string, std::string>> query = {}) {
    net::HttpRequest request;
    request.method = body.empty() ? "GET" : "POST";
    request.path = "/ping/" + std::move(path);
    request.query = std::move(query);
    request.body = std::move(body);
    return send(std::move(request));
  }
  // Plays the core: one answer an event.
  void deliver(Answer answer = Answer::accepted) {
    inbox_.deliver(std::vector<Answer>(inbox_.events().size(), answer));
  }
  // Posts one beat and hears this answer of the core.
  Sent beat(const std::string& body, Answer answer = Answer::accepted) {
    const Sent sent = post(body);
    deliver(answer);
    return sent;
  }
  const core::Beat& pushed_beat(std::size_t index = 0) {
    const auto& event = std::get<core::BeatReceived>(inbox_.events()[index]);
    EXPECT_EQ(event.source, core::Source::http);
    return event.beat;
  }
  std::vector<std::string> commands_of(const Sent& sent) {
    std::vector<std::string> out;
    for (const json::value& command : sent->body().at("commands").as_array()) {
      out.emplace_back(command.at("command").as_string());
    }
    return out;
  }
  void fill_inbox() {
    while (!inbox_.is_full()) inbox_.push(core::Persisted{});
  }

  Instant now_{1h};
  Inbox inbox_;
  BeatCodec codec_;
  std::vector<std::pair<std::string, std::string>> logs_;
  HttpSource source_{inbox_, codec_,
                     [this](std::string_view id, std::string_view text) { logs_.emplace_back(id, text); }};
};

TEST_F(HttpSourceTest, TakesItsOwnPathsOnly) {
  const auto handles = [](std::string path) {
    net::HttpRequest request;
    request.path = std::move(path);
    return HttpSource::handles(request);
  };
  EXPECT_TRUE(handles("/v1/heartbeats"));
  EXPECT_TRUE(handles("/ping/a"));
  EXPECT_TRUE(handles("/ping/"));
  EXPECT_FALSE(handles("/ping"));
  EXPECT_FALSE(handles("/v1/heartbeats/x"));
  EXPECT_FALSE(handles("/v1/agents"));
}

// ---- POST /v1/heartbeats ------------------------------------------------------------------------------

TEST_F(HttpSourceTest, OneBeatIsAnsweredWhenTheCoreHasAnswered) {
  const Sent sent = post(R"({"agentId":"a1","sequence":3})", "Application/JSON; charset=utf-8");
  EXPECT_FALSE(sent->is_answered());
  ASSERT_EQ(inbox_.events().size(), 1U);
  EXPECT_EQ(pushed_beat().agent_id, "a1");
  EXPECT_EQ(pushed_beat().sequence, 3U);
  deliver();
  EXPECT_EQ(sent->status(), 200U);
  EXPECT_EQ(sent->body(), json::parse(R"({"accepted":1,"refused":[],"commands":[]})").as_object());
}

TEST_F(HttpSourceTest, ManyBeatsInOneRequest) {
  const Sent sent =
      post("{\"agentId\":\"a1\"}\n\n {\"agentId\":\"-bad\"} \r\n{\"agentId\":\"a3\"}\n", "application/x-ndjson");
  ASSERT_EQ(inbox_.events().size(), 2U);
  EXPECT_EQ(pushed_beat(1).agent_id, "a3");
  inbox_.deliver(std::vector<Answer>{Answer::accepted, Answer::stale});
  EXPECT_EQ(sent->status(), 200U);
  EXPECT_EQ(sent->body().at("accepted"), 1);
  const json::array& refused = sent->body().at("refused").as_array();
  ASSERT_EQ(refused.size(), 2U);
  EXPECT_EQ(refused[0].at("index"), 1) << "blank lines have no index";
  EXPECT_THAT(std::string(refused[0].at("error").as_string()), HasSubstr(std::string(kAgentIdRule)));
  EXPECT_EQ(refused[1].at("index"), 2);
  EXPECT_EQ(refused[1].at("code"), "stale");
}

TEST_F(HttpSourceTest, ObjectsByLineAreSeenUnderTheTypeOfOne) {
  const Sent sent = post("{\"agentId\":\"a1\"}\n{\"agentId\":\"a2\"}");
  EXPECT_EQ(inbox_.events().size(), 2U);
  deliver();
  EXPECT_EQ(sent->body().at("accepted"), 2);
}

TEST_F(HttpSourceTest, OneObjectMayStandOnManyLines) {
  const Sent sent = post("{\n  \"agentId\": \"a1\",\n  \"metrics\":\n{}\n}\n");
  EXPECT_EQ(inbox_.events().size(), 1U);
  deliver();
  EXPECT_EQ(sent->body().at("accepted"), 1);
}

TEST_F(HttpSourceTest, ABadMessageIs400WithItsReasonAndPushesNothing) {
  for (const char* body : {"{", "[]", "null", R"({"agentId":"a b"})", R"({"agentId":"a1","sequence":"x"})"}) {
    const Sent sent = post(body);
    EXPECT_TRUE(inbox_.is_empty()) << body;
    EXPECT_EQ(sent->status(), 400U) << body;
    EXPECT_EQ(sent->body().at("accepted"), 0) << body;
    EXPECT_EQ(sent->body().at("refused").at(0).at("index"), 0) << body;
    EXPECT_EQ(sent->body().at("refused").at(0).at("error"), sent->body().at("error")) << body;
    EXPECT_EQ(sent->body().at("code"), "bad_message") << body;
    EXPECT_TRUE(sent->body().at("hint").is_string()) << body;
  }
}

// Rule 10: it proves life, so the core hears of it; the sender hears what is wrong, known agent or not.
TEST_F(HttpSourceTest, ARefusedBeatReachesTheCoreAndItsSenderHearsWhy) {
  for (const Answer answer : {Answer::refused, Answer::not_known}) {
    const Sent sent = post(R"({"agentId":"a1","status":"odd"})");
    EXPECT_THAT(std::string(pushed_beat().refusal), HasSubstr("odd"));
    deliver(answer);
    EXPECT_EQ(sent->status(), 400U);
    EXPECT_THAT(sent->text("error"), HasSubstr("status is \"odd\""));
  }
}

TEST_F(HttpSourceTest, TheCoresRefusalsHaveTheirOwnCode) {
  const auto expect = [this](Answer answer, std::string_view code) {
    const Sent sent = beat(R"({"agentId":"a1"})", answer);
    EXPECT_EQ(sent->status(), 400U);
    EXPECT_EQ(sent->text("code"), code);
    EXPECT_FALSE(sent->text("error").empty());
    EXPECT_FALSE(sent->text("hint").empty());
    EXPECT_EQ(sent->body().at("refused").as_array().size(), 1U);
  };
  expect(Answer::fenced, "fenced");
  expect(Answer::stale, "stale");
  expect(Answer::table_full, "table_full");
  expect(Answer::not_known, "not_found");
}

TEST_F(HttpSourceTest, SeveralThatAreAllRefusedAre400) {
  const Sent sent = post("{\"agentId\":\"a1\"}\n{\"agentId\":\"a2\"}", "application/x-ndjson");
  deliver(Answer::stale);
  EXPECT_EQ(sent->status(), 400U);
  EXPECT_EQ(sent->text("code"), "all_refused");
  EXPECT_THAT(sent->text("error"), HasSubstr("all 2 messages are refused"));
  EXPECT_EQ(sent->body().at("refused").as_array().size(), 2U);
}

TEST_F(HttpSourceTest, WrongRequestsAreToldWhatIsRight) {
  EXPECT_EQ(post("")->status(), 400U);
  EXPECT_EQ(post(" \n ")->text("code"), "empty_body");
  EXPECT_EQ(post(R"({"agentId":"a1"})", "text/plain")->status(), 415U);
  EXPECT_EQ(post(R"({"agentId":"a1"})", "")->status(), 415U);
  EXPECT_EQ(post(R"({"agentId":"a1"})", "application/jsonx")->status(), 415U);
  net::HttpRequest get;
  get.method = "GET";
  get.path = "/v1/heartbeats";
  const Sent sent = send(get);
  EXPECT_EQ(sent->status(), 405U);
  EXPECT_EQ(sent->header("Allow"), "POST");
  EXPECT_TRUE(inbox_.is_empty());
}

TEST_F(HttpSourceTest, AFullInboxIs503AndTellsWhenToComeBack) {
  fill_inbox();
  for (const Sent& sent : {post(R"({"agentId":"a1"})"), ping("a1"), ping("a1/fail")}) {
    EXPECT_EQ(sent->status(), 503U);
    EXPECT_EQ(sent->header("Retry-After"), "1");
  }
  EXPECT_EQ(source_.counters().busy, 3U);
}

std::string lines(std::size_t count) {
  std::string body;
  for (std::size_t i = 0; i < count; ++i) body += "{\"agentId\":\"a" + std::to_string(i) + "\"}\n";
  return body;
}

// A turn has room for 4096 events; a request may hold more messages, and none of them is lost or sent twice.
TEST_F(HttpSourceTest, ALongRequestGoesOnOverTurns) {
  const Sent sent = post(lines(HttpSource::kMessagesMax), "application/x-ndjson");
  std::vector<std::string> heard;
  for (int turn = 0; turn < 10 && !sent->is_answered(); ++turn) {
    for (std::size_t i = 0; i < inbox_.events().size(); ++i) heard.emplace_back(pushed_beat(i).agent_id);
    deliver();
    EXPECT_EQ(source_.resume(now_), turn == 0) << "the third part fits its turn";
  }
  ASSERT_TRUE(sent->is_answered());
  EXPECT_EQ(sent->body().at("accepted"), HttpSource::kMessagesMax);
  ASSERT_EQ(heard.size(), HttpSource::kMessagesMax);
  EXPECT_EQ(heard.front(), "a0");
  EXPECT_EQ(heard.back(), "a9999");
}

TEST_F(HttpSourceTest, RequestsThatWaitGoOnInOrderAndAreBounded) {
  std::vector<Sent> waiting;
  waiting.push_back(post(lines(5000), "application/x-ndjson"));
  deliver();
  // The inbox is empty again, so that more may come in before resume(): each finds less room.
  inbox_.push(core::Persisted{});
  for (std::size_t i = 1; i < HttpSource::kRequestsWaitingMax; ++i) {
    while (inbox_.events().size() < Inbox::kEventsMax - 1) inbox_.push(core::Persisted{});
    waiting.push_back(post(lines(2), "application/x-ndjson"));
    deliver();
    EXPECT_FALSE(waiting.back()->is_answered());
  }
  EXPECT_EQ(post(lines(2), "application/x-ndjson")->status(), 503U);
  for (int turn = 0; turn < 3; ++turn) {
    source_.resume(now_);
    deliver();
  }
  EXPECT_FALSE(source_.resume(now_));
  for (const Sent& sent : waiting) EXPECT_EQ(sent->status(), 200U);
}

TEST_F(HttpSourceTest, ARequestHasAtMost10000Messages) {
  const Sent sent = post(lines(HttpSource::kMessagesMax + 1), "application/x-ndjson");
  EXPECT_EQ(sent->status(), 413U);
  EXPECT_TRUE(inbox_.is_empty());
}

// ---- Commands -----------------------------------------------------------------------------------------

core::SendCommand command(std::string word, std::string agent = "a1", std::string instance = "") {
  core::SendCommand out;
  out.id = 7;
  out.command = std::move(word);
  out.agent_id = std::move(agent);
  out.instance_id = std::move(instance);
  out.reason = "because";
  return out;
}

TEST_F(HttpSourceTest, ACommandIsHandedOutOnceWithTheNextBeat) {
  EXPECT_FALSE(source_.offer_command(now_, command("restart"))) << "not heard here: it would never collect it";
  beat(R"({"agentId":"a1"})");
  EXPECT_TRUE(source_.offer_command(now_, command("restart")));
  EXPECT_THAT(commands_of(beat(R"({"agentId":"a2"})")), ElementsAre());
  now_ += 20s;
  const Sent sent = beat(R"({"agentId":"a1"})");
  EXPECT_EQ(sent->body().at("commands").at(0),
            json::parse(R"({"id":"7","command":"restart","agentId":"a1","instanceId":null,"reason":"because",
                            "expiresInMs":40000})"));
  EXPECT_THAT(commands_of(beat(R"({"agentId":"a1"})")), ElementsAre());
}

TEST_F(HttpSourceTest, APingIsNoCollector) {
  ping("a1");
  deliver();
  EXPECT_FALSE(source_.offer_command(now_, command("restart")));
}

TEST_F(HttpSourceTest, ARefusedStrangerIsNoCollector) {
  beat(R"({"agentId":"a1"})", Answer::table_full);
  EXPECT_FALSE(source_.offer_command(now_, command("restart")));
}

TEST_F(HttpSourceTest, ACommandForAnInstanceWaitsForIt) {
  beat(R"({"agentId":"a1","instanceId":"i1"})");
  ASSERT_TRUE(source_.offer_command(now_, command("stop", "a1", "i1")));
  EXPECT_THAT(commands_of(beat(R"({"agentId":"a1","instanceId":"i2"})")), ElementsAre());
  EXPECT_THAT(commands_of(beat(R"({"agentId":"a1"})")), ElementsAre());
  EXPECT_THAT(commands_of(beat(R"({"agentId":"a1","instanceId":"i1"})")), ElementsAre("stop"));
}

// A fence that names no instance must never reach the successor; what is for the successor not the fenced one.
TEST_F(HttpSourceTest, AFenceReachesTheFencedOnly) {
  beat(R"({"agentId":"a1"})");
  ASSERT_TRUE(source_.offer_command(now_, command("fence")));
  ASSERT_TRUE(source_.offer_command(now_, command("interrupt")));
  EXPECT_THAT(commands_of(beat(R"({"agentId":"a1"})")), ElementsAre("interrupt"));
  ASSERT_TRUE(source_.offer_command(now_, command("restart")));
  const Sent fenced = beat(R"({"agentId":"a1"})", Answer::fenced);
  EXPECT_EQ(fenced->status(), 400U);
  EXPECT_THAT(commands_of(fenced), ElementsAre("fence"));
  EXPECT_THAT(commands_of(beat(R"({"agentId":"a1"})")), ElementsAre("restart"));
}

TEST_F(HttpSourceTest, AnOldBeatPlayedAgainCollectsNothing) {
  beat(R"({"agentId":"a1"})");
  ASSERT_TRUE(source_.offer_command(now_, command("restart")));
  EXPECT_THAT(commands_of(beat(R"({"agentId":"a1"})", Answer::stale)), ElementsAre());
  EXPECT_THAT(commands_of(beat(R"({"agentId":"a1"})")), ElementsAre("restart"));
}

TEST_F(HttpSourceTest, ACommandExpires) {
  beat(R"({"agentId":"a1"})");
  ASSERT_TRUE(source_.offer_command(now_, command("restart")));
  now_ += 60s;
  EXPECT_THAT(commands_of(beat(R"({"agentId":"a1"})")), ElementsAre());
}

TEST_F(HttpSourceTest, CommandsAreBoundedByAgentAndInAll) {
  CommandBox box;
  for (int i = 0; i < 2000; ++i) box.saw("a" + std::to_string(i));
  for (std::size_t i = 0; i < CommandBox::kCommandsPerAgentMax; ++i) {
    EXPECT_TRUE(box.put(now_, command("restart", "a0")));
  }
  EXPECT_FALSE(box.put(now_, command("restart", "a0")));
  EXPECT_TRUE(box.put(now_ + 61s, command("restart", "a0"))) << "what has expired makes room";
  EXPECT_EQ(box.size(), 1U);
  std::size_t taken = 0;
  for (int i = 0; i < 2000; ++i) {
    for (int k = 0; k < 8; ++k) taken += box.put(now_ + 61s, command("restart", "a" + std::to_string(i))) ? 1 : 0;
  }
  EXPECT_EQ(taken, CommandBox::kCommandsMax - 1);
  EXPECT_EQ(box.size(), CommandBox::kCommandsMax);
  EXPECT_EQ(box.collect(now_ + 61s, "a0", "", false).size(), CommandBox::kCommandsPerAgentMax);
  EXPECT_TRUE(box.put(now_ + 61s, command("restart", "a1999")));
  while (box.size() < CommandBox::kCommandsMax) ASSERT_TRUE(box.put(now_ + 61s, command("restart", "a1500")));
  EXPECT_TRUE(box.put(now_ + 122s, command("restart", "a1501"))) << "what has expired makes room";
  EXPECT_EQ(box.size(), 1U);
}

// ---- /ping ----------------------------------------------------------------------------------------------

TEST_F(HttpSourceTest, APlainPingIsABeatWithoutInstance) {
  for (const char* path : {"job:1", "job:1/0"}) {
    const Sent sent = ping(path);
    EXPECT_EQ(pushed_beat().agent_id, "job:1");
    EXPECT_FALSE(pushed_beat().sequence.has_value());
    EXPECT_FALSE(pushed_beat().current_task.has_value());
    EXPECT_FALSE(pushed_beat().activity.has_value());
    EXPECT_EQ(pushed_beat().instance_id, "");
    EXPECT_FALSE(sent->is_answered());
    deliver();
    EXPECT_EQ(sent->status(), 200U);
    EXPECT_EQ(sent->response().body, "OK");
    EXPECT_THAT(sent->response().content_type, HasSubstr("text/plain"));
  }
}

TEST_F(HttpSourceTest, APingMayNameTypeAndInterval) {
  ping("a1", "", {{"type", "cron"}, {"interval", "5m"}});
  EXPECT_EQ(pushed_beat().agent_type, "cron");
  EXPECT_EQ(pushed_beat().interval_ms, 300'000);
  deliver();
  for (const char* bad : {"99ms", "8d", "0s", "-5m", "often", ""}) {
    const Sent sent = ping("a1", "", {{"interval", bad}});
    EXPECT_FALSE(pushed_beat().interval_ms.has_value()) << bad;
    deliver();
    EXPECT_EQ(sent->status(), 200U) << bad;
  }
  EXPECT_EQ(source_.counters().interval_ignored, 6U);
  const Sent sent = ping("a1", "", {{"type", std::string(129, 'x')}});
  EXPECT_FALSE(pushed_beat().refusal.empty());
  deliver(Answer::refused);
  EXPECT_EQ(sent->status(), 400U);
  EXPECT_THAT(sent->text("error"), HasSubstr("at most 128 bytes"));
}

TEST_F(HttpSourceTest, StartOpensATask) {
  ping("a1/start");
  EXPECT_EQ(pushed_beat().current_task, "run");
  EXPECT_EQ(pushed_beat().activity->kind, core::ActivityKind::working);
  deliver();
  ping("a1/start", "", {{"task", "nightly " + std::string(600, 'x')}});
  EXPECT_EQ(pushed_beat().current_task->size(), core::kTaskBytesMax);
  EXPECT_TRUE(pushed_beat().current_task->starts_with("nightly "));
}

TEST_F(HttpSourceTest, FailAndOtherExitCodesReportAFailure) {
  const auto detail = [this](std::string path, std::string body) {
    const Sent sent = ping(std::move(path), std::move(body));
    const auto& event = std::get<core::FailureReported>(inbox_.events()[0]);
    EXPECT_EQ(event.source, core::Source::http);
    EXPECT_EQ(event.agent_id, "a1");
    std::string out(event.detail);
    deliver();
    EXPECT_EQ(sent->status(), 200U);
    return out;
  };
  EXPECT_EQ(detail("a1/3", ""), "exit code 3");
  EXPECT_EQ(detail("a1/255", "reading\nwriting\nNo space\tleft\n\n"), "exit code 255: No space left");
  EXPECT_EQ(detail("a1/fail", ""), "");
  EXPECT_EQ(detail("a1/fail", "out of cheese"), "out of cheese");
  EXPECT_EQ(detail("a1/fail", std::string(10'000, 'x')).size(), core::kTaskBytesMax);
  EXPECT_TRUE(logs_.empty());
}

TEST_F(HttpSourceTest, AFailureOfAnUnknownAgentIs404) {
  const Sent sent = ping("a1/fail");
  deliver(Answer::not_known);
  EXPECT_EQ(sent->status(), 404U);
  EXPECT_EQ(sent->text("error"), "Agent not found");
}

TEST_F(HttpSourceTest, ALogProvesNoLife) {
  const Sent sent = ping("a1/log", "half way\nthere");
  EXPECT_TRUE(inbox_.is_empty());
  EXPECT_EQ(sent->status(), 200U);
  EXPECT_THAT(logs_, ElementsAre(std::pair<std::string, std::string>("a1", "half way\nthere")));
  ping("a1/log", std::string(100'000, 'x'));
  EXPECT_EQ(logs_.back().second.size(), HttpSource::kLogBytesMax);
  ping("a1", "done");
  EXPECT_EQ(logs_.back().second, "done");
  EXPECT_EQ(inbox_.events().size(), 1U);
}

TEST_F(HttpSourceTest, BadIdsAndPathsAreRefused) {
  for (const char* path : {"", "-x", ".x", "a b", "a$b", "/start", "a\nb"}) {
    const Sent sent = ping(path);
    EXPECT_EQ(sent->status(), 400U) << path;
    EXPECT_EQ(sent->text("error"), kAgentIdRule) << path;
  }
  for (const char* path :
       {"a1/", "a1/stop", "a1/256", "a1/-1", "a1/+1", "a1/007", "a1/1e1", "a1/start/", "a1/0/x", "a1/1000"}) {
    EXPECT_EQ(ping(path)->status(), 404U) << path;
  }
  net::HttpRequest request;
  request.method = "DELETE";
  request.path = "/ping/a1";
  EXPECT_EQ(send(request)->status(), 405U);
  EXPECT_TRUE(inbox_.is_empty());
}

TEST_F(HttpSourceTest, TheCoresRefusalsReachAPinger) {
  const Sent sent = ping("a1");
  deliver(Answer::table_full);
  EXPECT_EQ(sent->status(), 503U);
  EXPECT_EQ(sent->text("code"), "table_full");
  EXPECT_EQ(source_.counters().refused, 1U);
}

}  // namespace
}  // namespace defib::ingest
