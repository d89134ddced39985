#include "run/monitor_url.h"

#include <gtest/gtest.h>

namespace defib::run {
namespace {

TEST(MonitorUrl, ReadsEveryPart) {
  const Result<MonitorUrl> url = parse_monitor_url("redis://me:p%40ss%3A@monitor.example:6380/3");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url.value().host, "monitor.example");
  EXPECT_EQ(url.value().port, "6380");
  EXPECT_EQ(url.value().user, "me");
  EXPECT_EQ(url.value().password, "p@ss:");
  EXPECT_EQ(url.value().database, 3U);
  EXPECT_EQ(url.value().printable(), "redis://monitor.example:6380");
}

TEST(MonitorUrl, HasDefaultsForEachScheme) {
  EXPECT_EQ(parse_monitor_url("redis://h").value().port, "7379");
  EXPECT_EQ(parse_monitor_url("http://h/").value().port, "7070");
  EXPECT_EQ(parse_monitor_url("https://h/defib/").value().path, "/defib");
  EXPECT_EQ(parse_monitor_url("redis://[::1]:1").value().host, "::1");
  EXPECT_EQ(parse_monitor_url("redis://[::1]").value().printable(), "redis://[::1]:7379");
  EXPECT_EQ(parse_monitor_url("redis://:secret@h").value().password, "secret");
}

TEST(MonitorUrl, RefusesTheRestAndTellsNoSecret) {
  for (const std::string_view text :
       {"", "h:1", "redis://", "redis://:1", "redis://h:0", "redis://h:99999", "redis://h:x", "redis://h/x",
        "redis://a b", "ftp://h", "redis://u:%zz@h", "redis://[::1", "http://h/a?token=topsecret",
        "redis://u:topsecret@h h", "rediss://u:topsecret@h"}) {
    const Result<MonitorUrl> url = parse_monitor_url(text);
    ASSERT_FALSE(url.ok()) << text;
    EXPECT_EQ(url.error().find("topsecret"), std::string::npos) << url.error();
  }
  EXPECT_NE(parse_monitor_url("rediss://h").error().find("not served yet"), std::string::npos);
}

}  // namespace
}  // namespace defib::run
