#include "api/parameters.h"

#include <gtest/gtest.h>

#include "api/test_fakes.h"

namespace defib::api {
namespace {

std::string agent_error(std::string_view query) {
  const auto page = read_agent_page(make_request("GET", "/v1/agents?" + std::string(query)));
  return page ? "" : page.error();
}

TEST(Parameters, AgentsDefaultsAreThoseOfTheContract) {
  const auto page = read_agent_page(make_request("GET", "/v1/agents"));
  ASSERT_TRUE(page);
  EXPECT_EQ(page.value().limit, 100U);
  EXPECT_EQ(page.value().from, 0U);
  EXPECT_FALSE(page.value().filter.state);
}

TEST(Parameters, AnEmptyParameterIsAnAbsentOne) { EXPECT_EQ(agent_error("state=&type=&q=&limit=&cursor="), ""); }

TEST(Parameters, EachMistakeSaysWhatIsAllowed) {
  EXPECT_EQ(agent_error("state=dead"), "'state' must be one of starting, healthy, missing, failed, stalled, stopped");
  for (const char* query : {"limit=0", "limit=1001", "limit=-1", "limit=x", "limit=99999999999999999999999"}) {
    EXPECT_EQ(agent_error(query), "'limit' must be a number from 1 to 1000") << query;
  }
  EXPECT_EQ(agent_error("limit=1&limit=2"), "'limit' is given twice");
  EXPECT_EQ(agent_error("cursor=4294967296"), "'cursor' must be the 'next' of an earlier page");
  EXPECT_EQ(agent_error("q=" + std::string(129, 'a')), "'type' and 'q' may have 128 bytes");
  EXPECT_EQ(agent_error("limits=5"),
            "there is no parameter 'limits', did you mean 'limit'?; allowed are state, type, "
            "q, limit, cursor");
}

TEST(Parameters, IncidentsAreOpenClosedOrAll) {
  const auto open = [](std::string_view query) {
    return read_incident_page(make_request("GET", "/v1/incidents?" + std::string(query))).value().open;
  };
  EXPECT_EQ(open(""), std::nullopt);
  EXPECT_EQ(open("state=all"), std::nullopt);
  EXPECT_EQ(open("state=open"), true);
  EXPECT_EQ(open("state=closed"), false);
  EXPECT_FALSE(read_incident_page(make_request("GET", "/v1/incidents?cursor=0")));
}

TEST(Parameters, TheLastEventIdHeaderBeatsTheParameter) {
  const auto asked = read_events(make_request("GET", "/v1/events?after=1", {{"last-event-id", "5"}}));
  EXPECT_EQ(asked.value().after, 5U);
  EXPECT_TRUE(asked.value().follow);
  EXPECT_FALSE(read_events(make_request("GET", "/v1/events", {{"last-event-id", "abc"}})));
  EXPECT_FALSE(read_events(make_request("GET", "/v1/events?follow=maybe")));
  EXPECT_FALSE(read_events(make_request("GET", "/v1/events?last=1001")));
}

TEST(Parameters, AnActionsBodyIsNothingOrAnObject) {
  EXPECT_FALSE(read_action("", true).value().force);
  EXPECT_FALSE(read_action(" \n", false).value().force);
  EXPECT_FALSE(read_action("{}", false).value().force);
  EXPECT_TRUE(read_action(R"({"force": true})", true).value().force);
  for (const char* body : {"[]", "null", "1", "{", R"({"force":true} x)", R"({"force":"true"})", R"({"Force":true})"}) {
    EXPECT_FALSE(read_action(body, true)) << body;
  }
  EXPECT_FALSE(read_action(R"({"force":true})", false));
}

}  // namespace
}  // namespace defib::api
