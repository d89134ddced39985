// The subcommands against a real HTTP server in the same process that answers as a monitor does.
#include "app/commands.h"

#include <functional>
#include <future>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>

#include "app/api_client.h"
#include "net/http_server.h"
#include "net/loop.h"

namespace defib::app {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

// A monitor that knows a few paths by heart, on a loop thread of its own.
class FakeMonitor {
 public:
  struct Seen {
    std::string line;  // "GET /v1/agents?limit=2"
    std::string token;
    std::string content_type;
    std::string last_event_id;
    std::string body;
  };

  FakeMonitor() {
    std::promise<std::uint16_t> port;
    std::future<std::uint16_t> bound = port.get_future();
    thread_ = std::thread([this, &port] {
      net::HttpServer server(loop_, [this](std::shared_ptr<net::HttpExchange> exchange) { answer(*exchange); });
      port.set_value(server.listen("127.0.0.1:0").value());
      loop_.run([] { return kNever; });
      streams_.clear();
    });
    flags.server = "http://127.0.0.1:" + std::to_string(bound.get());
  }
  ~FakeMonitor() {
    loop_.post([this] { loop_.stop(); });
    thread_.join();
  }
  FakeMonitor(const FakeMonitor&) = delete;
  FakeMonitor& operator=(const FakeMonitor&) = delete;

  void on(const std::string& line, unsigned status, const std::string& body) {
    const std::lock_guard lock(mutex_);
    answers_[line] = {status, body};
  }
  // A stream that sends this and ends, one a connection, in this order; after the last it stays open.
  void on_stream(std::vector<std::string> parts) {
    const std::lock_guard lock(mutex_);
    parts_ = std::move(parts);
  }

  std::vector<Seen> seen() {
    const std::lock_guard lock(mutex_);
    return seen_;
  }

  ServerFlags flags;

 private:
  void answer(net::HttpExchange& exchange) {
    const net::HttpRequest& request = exchange.request();
    std::string line = request.method + " " + request.path;
    for (std::size_t i = 0; i < request.query.size(); ++i) {
      line += (i == 0 ? "?" : "&") + request.query[i].first + "=" + request.query[i].second;
    }
    const std::lock_guard lock(mutex_);
    seen_.push_back({line, std::string(request.header("authorization")), std::string(request.header("content-type")),
                     std::string(request.header("last-event-id")), request.body});
    if (request.header("accept") == "text/event-stream" && !parts_.empty()) return stream(exchange);
    const auto found = answers_.find(line);
    if (found == answers_.end()) return exchange.respond({.status = 404, .body = "no such line in this test: " + line});
    exchange.respond({.status = found->second.first, .body = found->second.second});
  }
  void stream(net::HttpExchange& exchange) {
    auto events = exchange.start_event_stream();
    events->send(parts_[std::min(streams_.size(), parts_.size() - 1)]);
    if (streams_.size() + 1 < parts_.size()) events->close();
    streams_.push_back(std::move(events));
  }

  net::Loop loop_;
  std::mutex mutex_;  // Guards what stands below it.
  std::map<std::string, std::pair<unsigned, std::string>> answers_;
  std::vector<std::string> parts_;
  std::vector<std::shared_ptr<net::EventStream>> streams_;
  std::vector<Seen> seen_;
  std::thread thread_;
};

class CommandsTest : public testing::Test {
 protected:
  std::vector<std::string> lines_seen() {
    std::vector<std::string> out;
    for (const FakeMonitor::Seen& seen : monitor_.seen()) out.push_back(seen.line);
    return out;
  }

  FakeMonitor monitor_;
  std::ostringstream out_;
  std::ostringstream err_;
  const Console console_{.out = out_, .err = err_};
};

constexpr const char* kHealthy =
    R"({"agentId":"good-1","agentType":"planner","state":"healthy","lastHeartbeat":999000,"reason":"beats in time",
        "currentTask":"plan\u001b[31m A","taskProgress":40.0,"incident":null,"uptimeSeconds":61,"intervalMs":30000,
        "activity":{"kind":"working","operation":null},"progress":{"seq":7,"action":"edit"},"policy":"default","pid":42})";
constexpr const char* kFailed =
    R"({"agentId":"bad-1","agentType":"shell","state":"failed","lastHeartbeat":900000,"reason":"no beat for 93 s","incident":12})";

TEST_F(CommandsTest, AgentsComeFromAllPagesTheWorstFirst) {
  monitor_.on("GET /v1/agents?limit=1000", 200,
              std::string(R"({"asOf":1000000,"agents":[)") + kHealthy + R"(],"next":"5"})");
  monitor_.on("GET /v1/agents?limit=999&cursor=5", 200,
              std::string(R"({"asOf":1000500,"agents":[)") + kFailed + R"(],"next":null})");
  EXPECT_EQ(cmd_agents({.server = monitor_.flags}, console_), 0) << err_.str();
  EXPECT_EQ(out_.str(),
            "STATE    AGENT   TYPE     LAST BEAT  INCIDENT  WHAT\n"
            "failed   bad-1   shell    100 s ago  12        no beat for 93 s\n"
            "healthy  good-1  planner  1 s ago              plan [31m A (40 %)\n"
            "2 agents: 1 failed, 1 healthy\n");
}

TEST_F(CommandsTest, FiltersAndLimitsGoToTheMonitor) {
  monitor_.on("GET /v1/agents?state=failed&type=a b&q=x&limit=1", 200,
              std::string(R"({"asOf":1000000,"agents":[)") + kFailed + R"(],"next":9})");
  EXPECT_EQ(cmd_agents({.server = monitor_.flags, .state = "failed", .type = "a b", .text = "x", .limit = 1}, console_),
            0)
      << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("There are more; --limit 10 shows them."));
}

TEST_F(CommandsTest, JsonIsForMachines) {
  monitor_.flags.is_json = true;
  monitor_.on("GET /v1/agents?limit=1000", 200, R"({"asOf":5,"agents":[{"agentId":"a"}],"next":null})");
  monitor_.on("GET /v1/agents/a", 200, R"({"agentId":"a","state":"healthy"})");
  EXPECT_EQ(cmd_agents({.server = monitor_.flags}, console_), 0);
  EXPECT_EQ(cmd_agent({.server = monitor_.flags, .id = "a"}, console_), 0);
  EXPECT_EQ(
      out_.str(),
      "{\"asOf\":5,\"agents\":[{\"agentId\":\"a\"}],\"more\":false}\n{\"agentId\":\"a\",\"state\":\"healthy\"}\n");
}

TEST_F(CommandsTest, AgentShowsWhatIsKnown) {
  monitor_.on("GET /v1/agents/good-1", 200, kHealthy);
  EXPECT_EQ(cmd_agent({.server = monitor_.flags, .id = "good-1"}, console_), 0) << err_.str();
  EXPECT_THAT(out_.str(),
              AllOf(StartsWith("good-1 is healthy: beats in time\n"), HasSubstr("task       plan [31m A (40 %)\n"),
                    HasSubstr("progress   7 edit\n"), HasSubstr("interval   30 s\n"), HasSubstr("up for     61 s\n")));
}

TEST_F(CommandsTest, WhyTellsSentenceFactsAndWhatComesNext) {
  monitor_.on("GET /v1/agents/bad-1/why", 200,
              R"({"agentId":"bad-1","state":"missing","since":1767323045678,"why":"bad-1 is missing: silent for 35 s",
                  "facts":[{"name":"silence","value":"35 s"},{"name":"threshold","value":"3 x 30 s + 3 s"}],
                  "next":[{"state":"failed","inMs":58000,"when":"no beat by then"},{"state":"healthy","inMs":null,"when":"a beat"}]})");
  EXPECT_EQ(cmd_why({.server = monitor_.flags, .id = "bad-1"}, console_), 0) << err_.str();
  EXPECT_THAT(out_.str(), AllOf(StartsWith("bad-1 is missing: silent for 35 s\n  since      "),
                                EndsWith(", 2026-01-02T03:04:05.678Z\n"
                                         "  silence    35 s\n"
                                         "  threshold  3 x 30 s + 3 s\n"
                                         "What comes next:\n"
                                         "  failed in 58 s: no beat by then\n"
                                         "  healthy: a beat\n")));
}

constexpr const char* kIncident =
    R"({"id":12,"agentId":"bad-1","state":"open","phase":"verifying","phaseReason":"waits for a beat until 60 s","verdict":"exit",
        "evidence":"exit code 3","outputTail":"one\ntwo\u0007\n","openedAt":1000,"closedAt":null,"outcome":null,
        "attempts":[{"n":1,"step":"restart","with":"runner","startedAt":1000,"result":"failed","isPending":false,"detail":"no beat"},
                    {"n":2,"step":"restart","with":"runner","startedAt":2000,"result":"unknown","isPending":true,"detail":""}]})";

TEST_F(CommandsTest, IncidentsAreAListAndOneByOne) {
  monitor_.on("GET /v1/incidents?state=open&limit=50", 200,
              std::string(R"({"incidents":[)") + kIncident + R"(],"next":null})");
  monitor_.on("GET /v1/incidents/12", 200, kIncident);
  EXPECT_EQ(cmd_incidents({.server = monitor_.flags, .state = "open"}, console_), 0) << err_.str();
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("12      open   bad-1  exit"), HasSubstr("2x, restart under way"),
                                HasSubstr("exit code 3")));
  out_.str("");
  EXPECT_EQ(cmd_incidents({.server = monitor_.flags, .number = 12}, console_), 0) << err_.str();
  EXPECT_THAT(out_.str(), AllOf(StartsWith("Incident 12 of bad-1 is open\n"), HasSubstr("verifying: waits for a beat"),
                                HasSubstr("  1. restart by runner, "), HasSubstr(": failed: no beat\n"),
                                HasSubstr(": under way\n"), HasSubstr("  | one\n  | two \n")));
}

TEST_F(CommandsTest, ActingSendsJsonAndTellsTheMonitorsWord) {
  monitor_.flags.token = "t0p";
  monitor_.on("POST /v1/agents/a:1/recover", 200, R"({"message":"recovery of a:1 begins","incident":{"id":4}})");
  monitor_.on("POST /v1/incidents/4/ack", 200, R"({"message":"acknowledged","incident":null})");
  monitor_.on(
      "POST /v1/incidents/4/close", 404,
      R"({"error":"Incident not found","code":"not_found","hint":"GET /v1/incidents?state=open lists the open ones"})");
  EXPECT_EQ(cmd_recover({.server = monitor_.flags, .id = "a:1", .force = true}, console_), 0) << err_.str();
  EXPECT_EQ(cmd_incident_wish({.server = monitor_.flags, .wish = IncidentWish::acknowledge, .number = 4}, console_), 0);
  EXPECT_EQ(cmd_incident_wish({.server = monitor_.flags, .wish = IncidentWish::close, .number = 4}, console_), 1);
  EXPECT_EQ(out_.str(), "recovery of a:1 begins (incident 4: `defib incidents 4`)\nacknowledged\n");
  EXPECT_EQ(err_.str(), "defib: Incident not found: `defib incidents` lists them\n");
  const std::vector<FakeMonitor::Seen> seen = monitor_.seen();
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen[0].body, R"({"force":true})");
  EXPECT_EQ(seen[0].token, "Bearer t0p");
  EXPECT_EQ(seen[0].content_type, "application/json");
  EXPECT_EQ(seen[1].body, "{}");
}

TEST_F(CommandsTest, APingIsSilentWhenItWentWell) {
  for (const char* const path : {"", "/start", "/fail", "/log", "/7"})
    monitor_.on(std::string("POST /ping/cron-1") + path, 200, "OK");
  const PingFlags ping{.server = monitor_.flags, .id = "cron-1"};
  for (const PingKind kind : {PingKind::beat, PingKind::start, PingKind::fail, PingKind::log, PingKind::exit_code}) {
    PingFlags one = ping;
    one.kind = kind;
    one.text = "a line";
    one.exit_code = 7;
    EXPECT_EQ(cmd_ping(one, console_), 0) << err_.str();
  }
  monitor_.on("POST /ping/cron-1?type=cron&interval=1d", 200, "OK");
  EXPECT_EQ(cmd_ping({.server = monitor_.flags, .id = "cron-1", .type = "cron", .interval = "1d"}, console_), 0);
  EXPECT_EQ(out_.str() + err_.str(), "");
  EXPECT_THAT(lines_seen(),
              ElementsAre("POST /ping/cron-1", "POST /ping/cron-1/start", "POST /ping/cron-1/fail",
                          "POST /ping/cron-1/log", "POST /ping/cron-1/7", "POST /ping/cron-1?type=cron&interval=1d"));
  EXPECT_EQ(monitor_.seen()[3].body, "a line");
}

TEST_F(CommandsTest, EveryNoIsOneSentenceAndExitCodeOne) {
  monitor_.on("GET /v1/agents/gone", 404, R"({"error":"Agent not found","code":"not_found","hint":""})");
  monitor_.on("GET /v1/agents/secret", 401, R"({"error":"no token","code":"no_token","hint":""})");
  monitor_.on("GET /v1/agents/page", 200, "<html>");
  EXPECT_EQ(cmd_agent({.server = monitor_.flags, .id = "gone"}, console_), 1);
  EXPECT_EQ(cmd_agent({.server = monitor_.flags, .id = "secret"}, console_), 1);
  EXPECT_EQ(cmd_agent({.server = monitor_.flags, .id = "page"}, console_), 1);
  EXPECT_EQ(cmd_agent({.server = monitor_.flags, .id = "other"}, console_), 1);
  EXPECT_THAT(err_.str(),
              AllOf(StartsWith("defib: Agent not found\n"), HasSubstr("set DEFIB_TOKEN or --token (no token)"),
                    HasSubstr("answered no JSON"), HasSubstr("answered 404 and nothing that a monitor says")));
  EXPECT_EQ(out_.str(), "");
}

TEST_F(CommandsTest, WhereNobodyListensTheSentenceSaysWhatToDo) {
  // A port that was free a moment ago: the monitor's own, once it has gone.
  ServerFlags flags;
  {
    FakeMonitor gone;
    flags = gone.flags;
  }
  EXPECT_EQ(cmd_agents({.server = flags}, console_), 1);
  EXPECT_EQ(err_.str(), "defib: no monitor answers at " + flags.server +
                            ": is `defib monitor` running? --server URL names another\n");
  err_.str("");
  // A password in the address is not shown.
  flags.server = "http://user:secret@" + flags.server.substr(7);
  EXPECT_EQ(cmd_events({.server = flags, .follows = true}, console_), 1);
  EXPECT_THAT(err_.str(),
              AllOf(HasSubstr("no monitor answers at http://127.0.0.1"), testing::Not(HasSubstr("secret"))));
}

TEST_F(CommandsTest, EventsOfThePast) {
  monitor_.on(
      "GET /v1/events?last=2&follow=false", 200,
      R"({"events":[{"id":1,"at":1767323045678,"kind":"agent","agentId":"a","incident":null,"what":"failed","text":"no beat for 93 s"},
                            {"id":2,"at":1767323045679,"kind":"monitor","agentId":null,"incident":null,"what":"started","text":"is up"}]})");
  EXPECT_EQ(cmd_events({.server = monitor_.flags, .last = 2}, console_), 0) << err_.str();
  EXPECT_EQ(out_.str(),
            "2026-01-02T03:04:05.678Z  agent     failed: no beat for 93 s\n"
            "2026-01-02T03:04:05.679Z  monitor   started: is up\n");
}

TEST_F(CommandsTest, FollowingComesBackWhereItBroke) {
  monitor_.on_stream({"id: 5\nevent: agent\ndata: {\"n\":1}\n\nid: 6\nda", "id: 6\nevent: agent\ndata: {\"n\":2}\n\n"});
  ApiClient client(monitor_.flags, 1ms);
  std::vector<std::string> data;
  std::vector<std::string> told;
  const Done ended = client.follow(
      "/v1/events?last=0",
      [&](const ApiEvent& event) {
        data.push_back(event.data);
        return data.size() < 2;
      },
      [&](std::string sentence) { told.push_back(std::move(sentence)); });
  EXPECT_TRUE(ended);
  EXPECT_THAT(data, ElementsAre("{\"n\":1}", "{\"n\":2}"));
  EXPECT_EQ(told.size(), 1U);
  const std::vector<FakeMonitor::Seen> seen = monitor_.seen();
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_EQ(seen[0].last_event_id, "");
  EXPECT_EQ(seen[1].last_event_id, "5");
}

TEST_F(CommandsTest, FollowingEndsWhereTheMonitorRefuses) {
  monitor_.on("GET /v1/events?last=50", 401, R"({"error":"no token","code":"no_token","hint":""})");
  EXPECT_EQ(cmd_events({.server = monitor_.flags, .follows = true}, console_), 1);
  EXPECT_THAT(err_.str(), HasSubstr("wants its token"));
}

class CheckConfigCommand : public CommandsTest {};

TEST_F(CheckConfigCommand, ToldAsEditorsJumpToIt) {
  const std::string dir = DEFIB_SOURCE_DIR "/tests/config/";
  EXPECT_EQ(cmd_check_config({.file = dir + "repeated_key.yaml"}, console_), 1);
  EXPECT_THAT(err_.str(),
              AllOf(StartsWith(dir + "repeated_key.yaml:3:1: key \"http\" is repeated"), HasSubstr("4 mistakes in ")));
  EXPECT_EQ(out_.str(), "");
}

TEST_F(CheckConfigCommand, AGoodFileIsSummedUp) {
  EXPECT_EQ(cmd_check_config({.file = DEFIB_SOURCE_DIR "/examples/quickstart.yaml"}, console_), 0) << err_.str();
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("quickstart.yaml is good: HTTP on 127.0.0.1:7070"), HasSubstr("policy 1, "),
                                HasSubstr("restart by runner (2 attempts), then alert all channels")));
}

TEST(Version, IsOneLine) {
  std::ostringstream out;
  EXPECT_EQ(cmd_version({.out = out, .err = out}), 0);
  EXPECT_EQ(out.str(), "defib " DEFIB_VERSION "\n");
}

}  // namespace
}  // namespace defib::app
