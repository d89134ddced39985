#include "api/events_sse.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "api/test_fakes.h"

namespace defib::api {
namespace {

core::HistoryRecord line(core::EventId id) {
  return {.id = id, .kind = core::EventKind::incident, .agent_id = "a", .incident = 3, .what = "opened", .text = "x"};
}

std::vector<core::EventId> ids(const FakeStream& stream) {
  std::vector<core::EventId> out;
  for (std::size_t at = 0; (at = stream.sent.find("\nid: ", at)) != std::string::npos; at += 5) {
    out.push_back(std::stoull(stream.sent.substr(at + 5)));
  }
  return out;
}

std::vector<core::EventId> range(core::EventId first, core::EventId last) {
  std::vector<core::EventId> out;
  for (core::EventId id = first; id <= last; ++id) out.push_back(id);
  return out;
}

// A feed over a journal that may lag behind what is announced.
class EventFeedTest : public testing::Test {
 protected:
  EventFeed make(core::EventId newest = 0) {
    written_ = newest;
    return {[this](core::EventId after, std::size_t limit) {
              std::vector<core::HistoryRecord> out;
              for (core::EventId id = std::max(after + 1, oldest_); id <= written_ && out.size() < limit; ++id) {
                out.push_back(line(id));
              }
              return out;
            },
            newest};
  }
  std::shared_ptr<FakeStream> open(EventFeed& feed, core::EventId after) {
    FakeExchange exchange(make_request("GET", "/v1/events"));
    EXPECT_TRUE(feed.open(exchange, after, now_));
    return exchange.stream;
  }
  void announce(EventFeed& feed, core::EventId first, core::EventId last, bool is_written = true) {
    for (core::EventId id = first; id <= last; ++id) feed.on_announce(line(id));
    if (is_written) written_ = last;
  }
  void turn(EventFeed& feed) {
    feed.on_turn(now_);
    for (int i = 0; i < 1000 && feed.has_work(); ++i) feed.on_turn(now_);
  }

  Instant now_{Duration(1h)};
  core::EventId oldest_ = 1;
  core::EventId written_ = 0;
};

TEST_F(EventFeedTest, ALineIsOneEventWithItsDecimalId) {
  EventFeed feed = make();
  const auto stream = open(feed, 0);
  EXPECT_EQ(stream->sent, "retry: 2000\n: defib\n\n");
  stream->sent.clear();
  announce(feed, 1, 1);
  turn(feed);
  EXPECT_EQ(stream->sent,
            "id: 1\nevent: incident\ndata: {\"id\":1,\"at\":0,\"kind\":\"incident\",\"agentId\":\"a\",\"incident\":3,"
            "\"what\":\"opened\",\"text\":\"x\"}\n\n");
}

TEST_F(EventFeedTest, ResumesFromTheJournalAndGoesOnLiveWithoutGapOrRepetition) {
  EventFeed feed = make(1000);
  const auto stream = open(feed, 250);
  feed.on_turn(now_);
  announce(feed, 1001, 1003);  // While it is being served the old ones.
  turn(feed);
  announce(feed, 1004, 1004);
  turn(feed);
  EXPECT_EQ(ids(*stream), range(251, 1004));
}

TEST_F(EventFeedTest, ATurnSendsABoundedNumberOfLines) {
  EventFeed feed = make(1'000);
  std::vector<std::shared_ptr<FakeStream>> streams;
  for (int i = 0; i < 20; ++i) streams.push_back(open(feed, 0));
  feed.on_turn(now_);
  std::size_t sent = 0;
  for (const auto& stream : streams) {
    EXPECT_LE(ids(*stream).size(), EventFeed::kLinesPerReader);
    sent += ids(*stream).size();
  }
  EXPECT_LE(sent, EventFeed::kLinesPerTurn);
  EXPECT_TRUE(feed.has_work());
  turn(feed);
  for (const auto& stream : streams) EXPECT_EQ(ids(*stream), range(1, 1'000)) << "none is forgotten";
}

// A hundred thousand agents fail in one turn: the ring turns over, and the journal writes behind.
TEST_F(EventFeedTest, ABurstBeyondTheRingIsWaitedForAndNotSkipped) {
  EventFeed feed = make();
  const auto stream = open(feed, 0);
  announce(feed, 1, 6'000, false);
  turn(feed);
  EXPECT_EQ(ids(*stream), range(1, 0)) << "its first lines are neither in the ring nor in the journal yet";
  EXPECT_FALSE(feed.has_work());
  EXPECT_EQ(feed.next_wakeup(), now_ + EventFeed::kRetryAfter);
  written_ = 300;
  now_ += EventFeed::kRetryAfter;
  turn(feed);
  written_ = 6'000;
  now_ += EventFeed::kRetryAfter;
  turn(feed);
  EXPECT_EQ(ids(*stream), range(1, 6'000));
}

TEST_F(EventFeedTest, WhatIsGoneForGoodIsToldAndPassedOver) {
  EventFeed feed = make();
  const auto stream = open(feed, 0);
  announce(feed, 1, EventFeed::kRecentMax + 10, false);
  for (Duration waited{0}; waited <= EventFeed::kGapPatience; waited += EventFeed::kRetryAfter) {
    turn(feed);
    now_ += EventFeed::kRetryAfter;
  }
  turn(feed);
  EXPECT_NE(stream->sent.find(": events 1 to 10 are not kept\n\n"), std::string::npos);
  EXPECT_EQ(ids(*stream), range(11, EventFeed::kRecentMax + 10));
}

TEST_F(EventFeedTest, WhatIsPastItsKeepingIsPassedOverAtOnce) {
  EventFeed feed = make(100);
  oldest_ = 60;
  const auto stream = open(feed, 3);
  turn(feed);
  EXPECT_EQ(ids(*stream), range(60, 100));
}

TEST_F(EventFeedTest, AnIdOfAnotherJournalFollowsFromNowOn) {
  EventFeed feed = make(5);
  const auto stream = open(feed, 9'000'000);
  announce(feed, 6, 7);
  turn(feed);
  EXPECT_EQ(ids(*stream), range(6, 7));
}

TEST_F(EventFeedTest, SilenceIsFilledWithACommentEvery15s) {
  EventFeed feed = make();
  const auto stream = open(feed, 0);
  EXPECT_EQ(feed.next_wakeup(), now_ + 15s);
  stream->sent.clear();
  now_ += 14s;
  turn(feed);
  EXPECT_EQ(stream->sent, "");
  now_ += 1s;
  turn(feed);
  EXPECT_EQ(stream->sent, ": ping\n\n");
  EXPECT_EQ(feed.next_wakeup(), now_ + 15s);
}

TEST_F(EventFeedTest, AReaderThatHasGoneIsForgotten) {
  EventFeed feed = make();
  const auto stream = open(feed, 0);
  open(feed, 0);
  stream->close();
  announce(feed, 1, 1);
  turn(feed);
  EXPECT_EQ(feed.readers(), 1U);
  EXPECT_FALSE(feed.has_work());
}

TEST_F(EventFeedTest, WithoutReadersNothingIsDueAndNothingIsLost) {
  EventFeed feed = make();
  announce(feed, 1, 3);
  EXPECT_FALSE(feed.has_work());
  EXPECT_EQ(feed.next_wakeup(), kNever);
  EXPECT_EQ(feed.newest(), 3U);
  EXPECT_EQ(feed.read(1, 10).size(), 2U);
}

}  // namespace
}  // namespace defib::api
