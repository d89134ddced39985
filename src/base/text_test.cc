#include "base/text.h"

#include <array>
#include <gtest/gtest.h>

#include "base/ids.h"

namespace defib {
namespace {

TEST(Durations, ReadBackWhatTheyWrite) {
  for (const Duration d :
       {Duration(250ms), Duration(30s), Duration(90s), Duration(5min), Duration(2h), Duration(7 * 24h)}) {
    const Result<Duration> parsed = parse_duration(format_duration(d));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(parsed.value(), d) << format_duration(d);
  }
}

TEST(Durations, RefuseWhatIsNone) {
  for (const std::string_view bad :
       {"", "s", "30", "-5s", "+5s", "3.5s", "1e3s", "30 s", "5 minutes", "99999999999999999999s", "999999999999d"}) {
    EXPECT_FALSE(parse_duration(bad).ok()) << bad;
  }
}

TEST(Durations, ReadWell) {
  EXPECT_EQ(human_duration(40ms), "40 ms");
  EXPECT_EQ(human_duration(1500ms), "1.5 s");
  EXPECT_EQ(human_duration(93s), "93 s");
  EXPECT_EQ(human_duration(125s), "2 min 5 s");
  EXPECT_EQ(human_duration(2h + 5min), "2 h 5 min");
  EXPECT_EQ(human_duration(3 * 24h), "3 d");
}

TEST(Text, WallTimeIsIso) { EXPECT_EQ(iso_time(wall_from_ms(1'767'323'045'678)), "2026-01-02T03:04:05.678Z"); }

TEST(Text, NearestNameIsNearEnough) {
  constexpr std::array<std::string_view, 3> kNames = {"interval", "missed_beats", "recovery"};
  EXPECT_EQ(nearest_name("intervall", kNames), "interval");
  EXPECT_EQ(nearest_name("recvery", kNames), "recovery");
  EXPECT_EQ(nearest_name("zebra", kNames), "");
}

TEST(Text, ClipNeverCutsACharacter) {
  EXPECT_EQ(clip("abc", 5), "abc");
  EXPECT_EQ(clip("a\xC3\xA4", 2), "a");
}

TEST(Text, GlobsCoverTheWhole) {
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("plan*", "planner"));
  EXPECT_TRUE(glob_match("*-?", "agent-7"));
  EXPECT_FALSE(glob_match("plan", "planner"));
  EXPECT_TRUE(glob_match("a*b*c", "aXXbYYbc"));
}

TEST(AgentIds, OnlyTheGrammarPasses) {
  EXPECT_TRUE(is_valid_agent_id("planner-7.prod:eu_1"));
  EXPECT_FALSE(is_valid_agent_id(""));
  EXPECT_FALSE(is_valid_agent_id("-rm"));
  EXPECT_FALSE(is_valid_agent_id(".hidden"));
  EXPECT_FALSE(is_valid_agent_id("a b"));
  EXPECT_FALSE(is_valid_agent_id("a;reboot"));
  EXPECT_FALSE(is_valid_agent_id(std::string(129, 'a')));
}

}  // namespace
}  // namespace defib
