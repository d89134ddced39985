#include "ingest/key_space.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <map>
#include <rapidcheck.h>
#include <utility>
#include <vector>

namespace defib::ingest {
namespace {

const Instant kStart{1000s};

using Pairs = std::vector<std::string_view>;
using Fields = std::vector<std::pair<std::string, std::string>>;

Fields fields(KeySpace& keys, Instant now, std::string_view id) {
  Fields out;
  keys.each_field(now, id, [&out](std::string_view name, std::string_view value) { out.emplace_back(name, value); });
  EXPECT_EQ(out.size(), keys.field_count(now, id));
  return out;
}

TEST(KeySpace, KeepsFieldsInTheOrderOfTheirFirstWriting) {
  KeySpace keys;
  EXPECT_EQ(keys.set(kStart, "a", Pairs{"type", "planner", "pid", "12"}).value(), 2);
  EXPECT_EQ(keys.set(kStart, "a", Pairs{"pid", "", "host", "h", "type", std::string(300, 'x')}).value(), 1);
  EXPECT_EQ(fields(keys, kStart, "a"), (Fields{{"type", std::string(300, 'x')}, {"pid", ""}, {"host", "h"}}));
  EXPECT_EQ(keys.field(kStart, "a", "host"), "h");
  EXPECT_EQ(keys.field(kStart, "a", "hos"), std::nullopt);
  EXPECT_EQ(keys.field(kStart, "b", "host"), std::nullopt);
  EXPECT_TRUE(keys.remove(kStart, "a"));
  EXPECT_FALSE(keys.remove(kStart, "a"));
  EXPECT_EQ(keys.bytes(), 0U);
}

TEST(KeySpace, AHashIsGoneFromTheInstantOfItsExpiry) {
  KeySpace keys;
  EXPECT_FALSE(keys.expire_after(kStart, "a", 5s));
  EXPECT_EQ(keys.expiry(kStart, "a"), std::nullopt);
  ASSERT_TRUE(keys.set(kStart, "a", Pairs{"f", "1"}).ok());
  EXPECT_EQ(keys.expiry(kStart, "a"), kNever);
  EXPECT_TRUE(keys.expire_after(kStart, "a", 5s));
  ASSERT_TRUE(keys.set(kStart + 1s, "a", Pairs{"f", "2"}).ok());  // Writing does not move it.
  EXPECT_EQ(keys.expiry(kStart + 1s, "a"), kStart + 5s);
  EXPECT_TRUE(keys.exists(kStart + 5s - 1ns, "a"));
  EXPECT_FALSE(keys.exists(kStart + 5s, "a"));
  EXPECT_EQ(keys.size(), 0U);
  ASSERT_EQ(keys.set(kStart + 5s, "a", Pairs{"g", "1"}).value(), 1);
  EXPECT_EQ(fields(keys, kStart + 5s, "a"), (Fields{{"g", "1"}}));
  EXPECT_TRUE(keys.expire_after(kStart + 6s, "a", -1s));
  EXPECT_FALSE(keys.exists(kStart + 6s, "a"));
  ASSERT_TRUE(keys.set(kStart, "a", Pairs{"f", "1"}).ok());
  EXPECT_TRUE(keys.expire_after(kStart, "a", Duration::max()));
  EXPECT_EQ(keys.expiry(kStart, "a"), kNever);
}

TEST(KeySpace, OneHashIsBounded) {
  KeySpace keys;
  const std::string name(KeySpace::kNameBytesMax, 'n');
  const std::string value(KeySpace::kValueBytesMax, 'v');
  EXPECT_TRUE(keys.set(kStart, "a", Pairs{name, value}).ok());
  EXPECT_EQ(keys.field(kStart, "a", name), value);
  const std::size_t before = keys.bytes();
  EXPECT_TRUE(keys.set(kStart, "a", Pairs{"x", "1", name + "n", "1"}).error().starts_with("ERR "));
  EXPECT_TRUE(keys.set(kStart, "a", Pairs{"x", value + "v"}).error().starts_with("ERR "));
  EXPECT_EQ(keys.field(kStart, "a", "x"), std::nullopt);
  EXPECT_EQ(keys.bytes(), before);

  std::vector<std::string> names;
  for (std::size_t i = 0; i <= KeySpace::kFieldsMax; ++i) names.push_back(fmt::format("f{}", i));
  for (std::size_t i = 0; i < KeySpace::kFieldsMax; ++i) ASSERT_TRUE(keys.set(kStart, "b", Pairs{names[i], "1"}).ok());
  EXPECT_TRUE(keys.set(kStart, "b", Pairs{names.back(), "1"}).error().starts_with("ERR "));
  EXPECT_TRUE(keys.set(kStart, "b", Pairs{names.front(), "2"}).ok());
}

TEST(KeySpace, AllTogetherAreBoundedAndExpiredOnesMakeRoom) {
  KeySpace keys(10'000);
  const std::string value(500, 'v');
  int stored = 0;
  while (keys.set(kStart, fmt::format("a{}", stored), Pairs{"f", value}).ok()) {
    ASSERT_LT(++stored, 100);
  }
  EXPECT_GT(stored, 10);
  EXPECT_LE(keys.bytes(), 10'000U);
  EXPECT_TRUE(keys.set(kStart, "b", Pairs{"f", value}).error().starts_with("OOM "));
  EXPECT_FALSE(keys.exists(kStart, "b"));
  // What is there can still be written, as long as it does not grow.
  EXPECT_TRUE(keys.set(kStart, "a0", Pairs{"f", std::string(500, 'w')}).ok());
  ASSERT_TRUE(keys.expire_after(kStart, "a1", 1s));
  ASSERT_TRUE(keys.expire_after(kStart, "a2", 1s));
  EXPECT_TRUE(keys.set(kStart + 1s, "b", Pairs{"f", value}).ok());
}

TEST(KeySpace, ExpiredHashesLeaveThoughNobodyAsksForThem) {
  KeySpace keys;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = fmt::format("a{}", i);
    ASSERT_TRUE(keys.set(kStart, id, Pairs{"f", "1"}).ok());
    ASSERT_TRUE(keys.expire_after(kStart, id, 1s));
  }
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(keys.set(kStart + 2s, "living", Pairs{"f", "1"}).ok());
  EXPECT_EQ(keys.size(), 1U);
  EXPECT_EQ(keys.bytes(), KeySpace::kHashOverheadBytes + 6 + 3 + 2);
}

// Against a plain map: whatever is written, overwritten and removed, both say the same.
TEST(KeySpace, AgreesWithAPlainMap) {
  const bool holds = rc::check("same fields and bytes as a map", [] {
    KeySpace keys;
    std::map<std::string, std::map<std::string, std::string>> model;
    const int steps = *rc::gen::inRange(0, 60);
    for (int i = 0; i < steps; ++i) {
      const std::string id = fmt::format("a{}", *rc::gen::inRange(0, 4));
      if (*rc::gen::inRange(0, 6) == 0) {
        RC_ASSERT(keys.remove(kStart, id) == (model.erase(id) > 0));
        continue;
      }
      const std::string name = fmt::format("f{}", *rc::gen::inRange(0, 6));
      const std::string value(*rc::gen::inRange<std::size_t>(0, 700), 'v');
      const std::int64_t added = keys.set(kStart, id, Pairs{name, value}).value();
      RC_ASSERT(added == (model[id].contains(name) ? 0 : 1));
      model[id][name] = value;
    }
    std::size_t bytes = 0;
    for (const auto& [id, hash] : model) {
      bytes += KeySpace::kHashOverheadBytes + id.size();
      for (const auto& [name, value] : hash) {
        bytes += 3 + name.size() + value.size();
        RC_ASSERT(keys.field(kStart, id, name) == value);
      }
      RC_ASSERT(keys.field_count(kStart, id) == hash.size());
    }
    RC_ASSERT(keys.bytes() == bytes);
  });
  EXPECT_TRUE(holds);
}

}  // namespace
}  // namespace defib::ingest
