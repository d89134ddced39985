#include "net/address.h"

#include <gtest/gtest.h>

namespace defib::net {
namespace {

TEST(Address, ReadsHostAndPort) {
  const auto four = parse_address("127.0.0.1:7070");
  ASSERT_TRUE(four.ok()) << four.error();
  EXPECT_EQ(four.value().address().to_string(), "127.0.0.1");
  EXPECT_EQ(four.value().port(), 7070);
  const auto six = parse_address("[::1]:0");
  ASSERT_TRUE(six.ok()) << six.error();
  EXPECT_EQ(six.value().address().to_string(), "::1");
  const auto local = parse_address("localhost:65535");
  ASSERT_TRUE(local.ok()) << local.error();
  EXPECT_EQ(local.value().address().to_string(), "127.0.0.1");
}

TEST(Address, RefusesWhatIsNotOneAndSaysWhatToWrite) {
  for (const char* text :
       {"", "7070", ":7070", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:70x",
        "127.0.0.1: 70", "::1:7070", "[127.0.0.1]:70", "[]:70", "example.org:80", "127.1:80", "*:80"}) {
    const auto read = parse_address(text);
    ASSERT_FALSE(read.ok()) << text;
    EXPECT_NE(read.error().find("HOST:PORT"), std::string::npos) << read.error();
  }
}

TEST(Address, LoopbackIsThisMachineOnly) {
  for (const char* text : {"127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "[::ffff:127.0.0.1]:1"}) {
    EXPECT_TRUE(is_loopback(parse_address(text).value())) << text;
  }
  for (const char* text : {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"}) {
    EXPECT_FALSE(is_loopback(parse_address(text).value())) << text;
  }
}

}  // namespace
}  // namespace defib::net
