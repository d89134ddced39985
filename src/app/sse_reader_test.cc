#include "app/sse_reader.h"

#include <gtest/gtest.h>
#include <vector>

namespace defib::app {
namespace {

constexpr std::string_view kStream =
    "retry: 2000\n: defib\n\nid: 7\nevent: agent\ndata: {\"a\":1}\n\n: ping\n\nid:8\r\ndata:one\r\ndata: "
    "two\r\n\r\ndata: half";

TEST(SseReader, EventsComeOutHoweverTheBytesAreCut) {
  for (std::size_t cut = 1; cut <= kStream.size(); ++cut) {
    SseReader reader;
    std::vector<ApiEvent> events;
    const auto take = [&](const ApiEvent& event) {
      events.push_back(event);
      return true;
    };
    for (std::size_t at = 0; at < kStream.size(); at += cut) EXPECT_TRUE(reader.read(kStream.substr(at, cut), take));
    ASSERT_EQ(events.size(), 2U);
    EXPECT_EQ(events[0].id, "7");
    EXPECT_EQ(events[0].name, "agent");
    EXPECT_EQ(events[0].data, "{\"a\":1}");
    EXPECT_EQ(events[1].data, "one\ntwo");
    EXPECT_EQ(reader.last_id(), "8");
  }
}

TEST(SseReader, ABreakForgetsWhatIsHalfReadButNotTheLastId) {
  SseReader reader;
  std::vector<std::string> data;
  const auto take = [&](const ApiEvent& event) {
    data.push_back(event.data);
    return true;
  };
  reader.read("id: 3\ndata: a\n\nid: 4\ndata: b", take);
  reader.reset();
  EXPECT_EQ(reader.last_id(), "3");
  reader.read("id: 4\ndata: b\n\n", take);
  EXPECT_EQ(data, (std::vector<std::string>{"a", "b"}));
}

TEST(SseReader, ItStopsWhenNobodyWantsMore) {
  SseReader reader;
  int events = 0;
  EXPECT_FALSE(reader.read("data: a\n\ndata: b\n\n", [&](const ApiEvent&) { return ++events < 1; }));
  EXPECT_EQ(events, 1);
}

TEST(SseReader, ALineWithoutEndIsBounded) {
  SseReader reader;
  std::string data;
  const auto take = [&](const ApiEvent& event) {
    data = event.data;
    return true;
  };
  reader.read("data: ", take);
  for (int i = 0; i < 40; ++i) reader.read(std::string(10'000, 'x'), take);
  reader.read("\n\n", take);
  EXPECT_LE(data.size(), SseReader::kBytesMax);
}

}  // namespace
}  // namespace defib::app
