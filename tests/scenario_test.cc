// Plays every file of tests/scenarios and compares what came out with what stands there. With
// DEFIB_REWRITE=1 in the environment the files are rewritten instead: `make scenarios-rewrite`.
#include "testing/scenario.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <vector>

namespace defib::stage {
namespace {

std::vector<std::string> scenario_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(DEFIB_SOURCE_DIR "/tests/scenarios")) {
    if (entry.path().extension() == ".txt") names.push_back(entry.path().stem().string());
  }
  std::ranges::sort(names);
  return names;
}

class Scenario : public ::testing::TestWithParam<std::string> {};

TEST_P(Scenario, ComesOutAsWritten) {
  const std::string path = DEFIB_SOURCE_DIR "/tests/scenarios/" + GetParam() + ".txt";
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  const Result<std::string> played = run_scenario(text.str());
  ASSERT_TRUE(played.ok()) << path << ": " << played.error();
  if (std::getenv("DEFIB_REWRITE") != nullptr) {
    std::ofstream(path) << played.value();
    return;
  }
  EXPECT_EQ(played.value(), text.str()) << path;
}

INSTANTIATE_TEST_SUITE_P(Files, Scenario, ::testing::ValuesIn(scenario_names()),
                         [](const auto& param) { return param.param; });

// The runner itself: a scenario that expects something else must not pass.
TEST(ScenarioRunner, WritesWhatHappenedNotWhatStoodThere) {
  const Result<std::string> played = run_scenario("next\n----\nnext wake-up in the middle of nowhere\n");
  ASSERT_TRUE(played.ok());
  EXPECT_EQ(played.value().find("nowhere"), std::string::npos);
}

TEST(ScenarioRunner, NamesTheLineOfAMistake) {
  EXPECT_EQ(run_scenario("# a comment\nbeet a1\n----\n").error(), "line 2: beet a1: there is no command \"beet\"");
  EXPECT_EQ(run_scenario("advance soon\n----\n").error(), "line 1: advance soon: \"soon\" is not a duration");
  EXPECT_EQ(run_scenario("beat a1 colour=red\n----\n").error(), "line 1: beat a1 colour=red: beat knows no colour=");
  EXPECT_EQ(run_scenario("beat a1\n").error(), "line 1: the block has no line of dashes");
}

}  // namespace
}  // namespace defib::stage
