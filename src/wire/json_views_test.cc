#include "wire/json_views.h"

#include <gtest/gtest.h>
#include <limits>
#include <string>

namespace defib::wire {
namespace {

core::AgentView full_agent() {
  core::AgentView agent;
  agent.key = 3;
  agent.id = "planner-1";
  agent.type = "planner";
  agent.state = core::State::missing;
  agent.last_heartbeat = wall_from_ms(1'700'000'000'123);
  agent.missed_beats = 1;
  agent.uptime_seconds = 3600;
  agent.reason = "no beat for 34 s";
  agent.instance_id = "i-7";
  agent.host = "box";
  agent.pid = 4711;
  agent.status = core::Status::busy;
  agent.metrics = core::Metrics{.cpu_percent = 12.5,
                                .memory_mb = 512,
                                .active_tasks = 1,
                                .queue_depth = 0,
                                .tokens_used_this_hour = 9007199254740991,
                                .errors_last_5_min = 0};
  agent.current_task = "write the report";
  agent.task_progress = 40;
  agent.activity = "working";
  agent.activity_operation = "model call";
  agent.progress_seq = std::numeric_limits<std::uint64_t>::max();
  agent.progress_action = "search";
  agent.interval_ms = 30'000;
  agent.policy = "type=planner";
  agent.sequence = 17;
  agent.skew_ms = -20;
  agent.labels = {{"team", "red"}};
  agent.incident = 9;
  return agent;
}

TEST(JsonViews, AgentBearsTheGuidesFieldsAndOursWithWholeNumbers) {
  EXPECT_EQ(json::serialize(agent_json(full_agent())),
            R"({"agentId":"planner-1","state":"missing","lastHeartbeat":1700000000123,"missedBeats":1,)"
            R"("uptimeSeconds":3600,"reason":"no beat for 34 s","agentType":"planner","instanceId":"i-7",)"
            R"("host":"box","pid":4711,"status":"busy","metrics":{"cpuPercent":1.25E1,"memoryMB":512,)"
            R"("activeTasks":1,"queueDepth":0,"tokensUsedThisHour":9007199254740991,"errorsLast5Min":0},)"
            R"("currentTask":"write the report","taskProgress":40,"activity":{"kind":"working",)"
            R"("operation":"model call"},"progress":{"seq":18446744073709551615,"action":"search"},)"
            R"("intervalMs":30000,"policy":"type=planner","sequence":17,"skewMs":-20,"source":"endpoint",)"
            R"("labels":{"team":"red"},"conflict":false,"incident":9})");
}

TEST(JsonViews, AgentWithoutAnythingSaysNullAndNeverBeaten) {
  core::AgentView agent;
  agent.id = "a";
  agent.activity = "idle";
  agent.metrics = core::Metrics{.cpu_percent = std::numeric_limits<double>::quiet_NaN()};
  EXPECT_EQ(json::serialize(agent_json(agent)),
            R"({"agentId":"a","state":"starting","lastHeartbeat":0,"missedBeats":0,"uptimeSeconds":0,"reason":"",)"
            R"("agentType":"","instanceId":null,"host":null,"pid":null,"status":"healthy",)"
            R"("metrics":{"cpuPercent":null,"memoryMB":0,"activeTasks":0,"queueDepth":0,"tokensUsedThisHour":0,)"
            R"("errorsLast5Min":0},"currentTask":null,"taskProgress":null,"activity":{"kind":"idle",)"
            R"("operation":null},"progress":null,"intervalMs":0,"policy":"","sequence":null,"skewMs":null,)"
            R"("source":"endpoint","labels":{},"conflict":false,"incident":null})");
}

TEST(JsonViews, IncidentShowsItsAttemptsInTheContractsThreeResults) {
  core::Incident incident;
  incident.id = 9;
  incident.agent_id = "planner-1";
  incident.evidence = "no beat for 93 s 3 x 30 s and grace";
  incident.phase = core::Phase::verifying;
  incident.phase_reason = "waits for a beat";
  incident.opened_at = wall_from_ms(1000);
  incident.attempts = {{.n = 1,
                        .kind = core::StepKind::restart,
                        .with = "exec",
                        .started_at = wall_from_ms(1001),
                        .result = core::AttemptResult::failed,
                        .detail = "no beat within 60 s"},
                       {.n = 2,
                        .kind = core::StepKind::restart,
                        .with = "exec",
                        .started_at = wall_from_ms(70'000),
                        .result = core::AttemptResult::pending}};
  EXPECT_EQ(json::serialize(incident_json(incident)),
            R"({"id":9,"agentId":"planner-1","state":"open","phase":"verifying","phaseReason":"waits for a beat",)"
            R"("verdict":"silence","evidence":"no beat for 93 s 3 x 30 s and grace","outputTail":null,)"
            R"("openedAt":1000,"closedAt":null,"outcome":null,"acknowledged":false,"attempts":[)"
            R"({"n":1,"step":"restart","with":"exec","startedAt":1001,"result":"failed","isPending":false,)"
            R"("detail":"no beat within 60 s"},)"
            R"({"n":2,"step":"restart","with":"exec","startedAt":70000,"result":"unknown","isPending":true,)"
            R"("detail":""}]})");
}

TEST(JsonViews, ClosedIncidentBearsItsEndAndOutcome) {
  core::Incident incident;
  incident.id = 1;
  incident.phase = core::Phase::closed;
  incident.closed_at = wall_from_ms(5);
  incident.outcome = "recovered";
  const json::object out = incident_json(incident);
  EXPECT_EQ(out.at("state").as_string(), "closed");
  EXPECT_EQ(out.at("closedAt").as_int64(), 5);
  EXPECT_EQ(out.at("outcome").as_string(), "recovered");
}

TEST(JsonViews, CommandToAnyInstanceSaysNull) {
  core::SendCommand command;
  command.id = 5;
  command.command = "restart";
  command.agent_id = "a";
  command.reason = "stalled";
  EXPECT_EQ(json::serialize(command_json(command)),
            R"({"id":"5","command":"restart","agentId":"a","instanceId":null,"reason":"stalled","expiresInMs":60000})");
  command.command = "grant";
  command.restarts = 3;
  EXPECT_EQ(command_json(command).at("restarts").to_number<int>(), 3);
}

TEST(JsonViews, WhySaysWhatComesNextAndWhen) {
  core::Why why;
  why.agent_id = "a";
  why.state = core::State::healthy;
  why.since = wall_from_ms(7);
  why.sentence = "its last beat came 12.4 s ago";
  why.facts = {{"silence", "12.4 s"}};
  why.next = {{.state = core::State::missing, .in = 20'600ms, .when = "no beat by then"},
              {.state = core::State::stopped, .in = std::nullopt, .when = "a goodbye"}};
  EXPECT_EQ(json::serialize(why_json(why)),
            R"({"agentId":"a","state":"healthy","since":7,"why":"its last beat came 12.4 s ago",)"
            R"("facts":[{"name":"silence","value":"12.4 s"}],)"
            R"("next":[{"state":"missing","inMs":20600,"when":"no beat by then"},)"
            R"({"state":"stopped","inMs":null,"when":"a goodbye"}]})");
}

TEST(JsonViews, HistoryLineOfTheMonitorBelongsToNoAgent) {
  const core::HistoryRecord record{
      .id = 12, .at = wall_from_ms(3), .kind = core::EventKind::monitor, .what = "blind", .text = "I am blind"};
  EXPECT_EQ(json::serialize(history_json(record)),
            R"({"id":12,"at":3,"kind":"monitor","agentId":null,"incident":null,"what":"blind","text":"I am blind"})");
}

TEST(JsonViews, ErrorBearsCodeAndHint) {
  EXPECT_EQ(json::serialize(error_json("Agent not found", "not_found", "see /v1/agents")),
            R"({"error":"Agent not found","code":"not_found","hint":"see /v1/agents"})");
}

// A program's last output is whatever it wrote; a strict reader must be able to read what we send all the same.
TEST(JsonViews, TextThatIsNotUtf8IsMendedEverywhere) {
  const std::string bad = "ok \xc3\xa9 \xff \xc0\xaf \xed\xa0\x80 \xf0\x9f\x98\x80 \xe2\x82";
  const std::string mended =
      "ok \xc3\xa9 \xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xf0\x9f\x98\x80 "
      "\xef\xbf\xbd\xef\xbf\xbd";
  core::Incident incident;
  incident.output_tail = bad;
  EXPECT_EQ(incident_json(incident).at("outputTail").as_string(), mended);
  std::string text;
  append_json_string(text, bad);
  EXPECT_EQ(text, '"' + mended + '"');
}

TEST(JsonViews, JsonStringEscapesWhatMustBe) {
  std::string every;
  for (int c = 0; c < 0x80; ++c) every += static_cast<char>(c);
  std::string text;
  append_json_string(text, every);
  EXPECT_EQ(json::parse(text).as_string(), every);
  EXPECT_NE(text.find(R"(\u0000)"), std::string::npos);
  EXPECT_NE(text.find(R"(\u001f)"), std::string::npos);
  text.clear();
  append_json_string(text, "");
  EXPECT_EQ(text, R"("")");
}

// The row is written by hand for speed; it must say what the whole view says.
TEST(JsonViews, HealthRowAgreesWithTheAgentsWholeView) {
  core::AgentView agent = full_agent();
  agent.reason = "exit 1: \"no\tway\"\n";
  std::string row;
  append_health_row(row, agent);
  const json::object parsed = json::parse(row).as_object();
  const json::object whole = agent_json(agent);
  EXPECT_EQ(parsed.size(), 6U);
  for (const auto& [key, value] : parsed) EXPECT_EQ(whole.at(key), value) << key;
}

}  // namespace
}  // namespace defib::wire
