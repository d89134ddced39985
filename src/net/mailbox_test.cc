#include "net/mailbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <thread>

namespace defib::net {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Mailbox, SaysNoWhenFullAndTakesAgainOnceEmptied) {
  Mailbox<int> box(2);
  EXPECT_TRUE(box.push(1));
  EXPECT_TRUE(box.push(2));
  EXPECT_FALSE(box.push(3));
  EXPECT_EQ(box.size(), 2u);
  EXPECT_THAT(box.take_ready(), ElementsAre(1, 2));
  EXPECT_THAT(box.take_ready(), IsEmpty());
  EXPECT_TRUE(box.push(4));
}

TEST(Mailbox, ClosedTakesNothingButGivesWhatItHolds) {
  Mailbox<int> box(2);
  EXPECT_TRUE(box.push(1));
  box.close();
  EXPECT_TRUE(box.is_closed());
  EXPECT_FALSE(box.push(2));
  EXPECT_THAT(box.take_all(), ElementsAre(1));
  EXPECT_THAT(box.take_all(), IsEmpty());
}

TEST(Mailbox, KeepsTheOrderAcrossThreads) {
  Mailbox<int> box(10'000);
  std::thread writer([&] {
    for (int i = 0; i < 10'000; ++i) EXPECT_TRUE(box.push(i));
    box.close();
  });
  int expected = 0;
  for (auto taken = box.take_all(); !taken.empty(); taken = box.take_all()) {
    for (const int item : taken) EXPECT_EQ(item, expected++);
  }
  writer.join();
  EXPECT_EQ(expected, 10'000);
}

}  // namespace
}  // namespace defib::net
