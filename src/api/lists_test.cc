#include "api/lists.h"

#include <gtest/gtest.h>
#include <set>
#include <string>
#include <vector>

#include "api/test_fakes.h"

namespace defib::api {
namespace {

constexpr Instant kNow{Duration(1h)};

class ListsTest : public testing::Test {
 protected:
  void fill(std::size_t agents, core::State state = core::State::healthy) {
    for (std::size_t i = 0; i < agents; ++i) view_.add("agent-" + std::to_string(i), state);
  }
  std::shared_ptr<FakeExchange> health() {
    auto exchange = std::make_shared<FakeExchange>(make_request("GET", "/health/agents"));
    lists_.health(exchange);
    return exchange;
  }
  std::shared_ptr<FakeExchange> page(AgentPage page) {
    auto exchange = std::make_shared<FakeExchange>(make_request("GET", "/v1/agents"));
    lists_.agents(exchange, std::move(page), wall_from_ms(9));
    return exchange;
  }
  // Returns how many slices it took.
  int finish() {
    int slices = 0;
    for (; slices < 100'000 && lists_.has_work(); ++slices) lists_.make_slice(kNow, wall_from_ms(9));
    return slices;
  }

  FakeView view_;
  Lists lists_{view_};
};

TEST_F(ListsTest, ALongListTakesManyTurnsAndEachLooksAtFewAgents) {
  fill(10'000);
  const auto exchange = health();
  EXPECT_EQ(exchange->answers, 0);
  EXPECT_EQ(finish(), 20);
  EXPECT_LE(view_.most_looks, Lists::kLooksPerSlice);
  EXPECT_EQ(exchange->json().at("agents").as_array().size(), 10'000U);
}

// Agents that fail or join while the list is being made: its counts must still be those of its rows.
TEST_F(ListsTest, CountsAgreeWithTheRowsWhateverHappensMeanwhile) {
  fill(9);
  const auto exchange = health();
  lists_.make_slice(kNow, wall_from_ms(9));
  EXPECT_EQ(exchange->answers, 1);

  fill(1990);
  const auto second = health();
  lists_.make_slice(kNow, wall_from_ms(9));
  for (core::AgentView& agent : view_.agents) agent.state = core::State::failed;
  fill(20'000, core::State::stopped);  // The total gets a digit more than was thought of.
  finish();
  const auto body = second->json();
  std::map<std::string, std::uint64_t> counted;
  for (const auto& row : body.at("agents").as_array()) ++counted[std::string(row.at("state").as_string())];
  std::uint64_t total = 0;
  for (const char* state : {"starting", "healthy", "missing", "failed", "stalled", "stopped"}) {
    EXPECT_EQ(body.at(state).to_number<std::uint64_t>(), counted[state]) << state;
    total += counted[state];
  }
  EXPECT_EQ(body.at("total").to_number<std::uint64_t>(), total);
  EXPECT_EQ(total, 21'999U);
  EXPECT_GT(counted["failed"], 0U);
}

TEST_F(ListsTest, AnEmptyFleetIsAnEmptyList) {
  const auto exchange = health();
  finish();
  EXPECT_EQ(exchange->answer.body,
            R"({"total":0,"healthy":0,"missing":0,"failed":0,"stalled":0,"stopped":0,"starting":0,"asOf":9,)"
            R"("blind":[],"agents":[]})");
}

TEST_F(ListsTest, WhoAsksBeforeAListBeginsSharesItAndWhoAsksLaterDoesNot) {
  fill(5000);
  const auto first = health();
  const auto second = health();
  lists_.make_slice(kNow, wall_from_ms(9));
  view_.agents[4999].state = core::State::failed;
  const auto third = health();
  EXPECT_EQ(finish(), 9 + 10);
  EXPECT_EQ(first->answer.body, second->answer.body);
  EXPECT_EQ(third->json().at("failed").to_number<int>(), 1);
  EXPECT_EQ(third->answers, 1);
}

TEST_F(ListsTest, APageDoesNotWaitForAWholeList) {
  fill(100'000);
  const auto whole = health();
  lists_.make_slice(kNow, wall_from_ms(9));
  const auto one = page({.limit = 10});
  lists_.make_slice(kNow, wall_from_ms(9));
  lists_.make_slice(kNow, wall_from_ms(9));
  EXPECT_EQ(one->answers, 1);
  EXPECT_EQ(whole->answers, 0);
  finish();
  EXPECT_EQ(whole->answers, 1);
}

TEST_F(ListsTest, PagesCoverTheFleetOnceWhateverTheFilter) {
  fill(3000);
  for (std::size_t i = 0; i < view_.agents.size(); i += 7) view_.agents[i].state = core::State::failed;
  std::set<std::string> seen;
  std::optional<core::AgentKey> from = 0;
  for (int pages = 0; from && pages < 1000; ++pages) {
    const auto exchange = page({.filter = {.state = core::State::failed}, .from = *from, .limit = 100});
    finish();
    const auto body = exchange->json();
    EXPECT_LE(body.at("agents").as_array().size(), 100U);
    for (const auto& agent : body.at("agents").as_array()) {
      EXPECT_TRUE(seen.insert(std::string(agent.at("agentId").as_string())).second);
    }
    from.reset();
    if (!body.at("next").is_null()) from = static_cast<core::AgentKey>(std::stoul(body.at("next").as_string().c_str()));
  }
  EXPECT_EQ(seen.size(), 429U);
}

TEST_F(ListsTest, ARareMatchIsSearchedInSlices) {
  fill(50'000);
  view_.agents.back().state = core::State::failed;
  const auto exchange = page({.filter = {.state = core::State::failed}, .limit = 1000});
  EXPECT_GT(finish(), 10);
  EXPECT_EQ(exchange->json().at("agents").as_array().size(), 1U);
  EXPECT_TRUE(exchange->json().at("next").is_null());
}

TEST_F(ListsTest, ALongPageOfIncidentsTakesSeveralTurns) {
  for (core::IncidentId id = 1; id <= 500; ++id) view_.all_incidents.emplace_back().id = id;
  auto exchange = std::make_shared<FakeExchange>(make_request("GET", "/v1/incidents"));
  lists_.incidents(exchange, {.limit = 200});
  EXPECT_GT(finish(), 5);
  const auto body = exchange->json();
  ASSERT_EQ(body.at("incidents").as_array().size(), 200U);
  EXPECT_EQ(body.at("incidents").at(0).at("id").to_number<int>(), 500);
  EXPECT_EQ(body.at("incidents").at(199).at("id").to_number<int>(), 301);
  EXPECT_EQ(body.at("next").as_string(), "301");
}

TEST_F(ListsTest, BothLinesHaveABound) {
  fill(1);
  for (std::size_t i = 0; i < Lists::kWaitingMax; ++i) {
    health();
    page({});
  }
  const auto list = health();
  EXPECT_EQ(list->answer.status, 503U);
  EXPECT_EQ(list->header("Retry-After"), "1");
  EXPECT_EQ(page({})->answer.status, 503U);
  finish();
  EXPECT_EQ(health()->answers, 0) << "there is room again";
}

}  // namespace
}  // namespace defib::api
