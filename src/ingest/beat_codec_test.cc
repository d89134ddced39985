#include "ingest/beat_codec.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <set>
#include <sstream>

#include <boost/json.hpp>

#include "base/ids.h"

namespace defib::ingest {
namespace {

namespace json = boost::json;
using core::Beat;
using testing::HasSubstr;

std::string hex16(std::uint64_t value) {
  std::string out(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4) out[i] = "0123456789abcdef"[value & 0xf];
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t n = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k) group = group << 8 | (k < n ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k) out += k <= n ? kAlphabet[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

json::value text_or_null(std::string_view text) { return text.empty() ? json::value() : json::value(text); }

template <typename T>
json::value or_null(const std::optional<T>& found) {
  return found ? json::value(*found) : json::value();
}

json::object metrics_json(const core::Metrics& m) {
  return {{"cpuPercent", m.cpu_percent},           {"memoryMB", m.memory_mb},
          {"activeTasks", m.active_tasks},         {"queueDepth", m.queue_depth},
          {"errorsLast5Min", m.errors_last_5_min}, {"tokensUsedThisHour", m.tokens_used_this_hour}};
}

// What was understood, under the names of the wire; the vectors speak of this.
json::object understood(const Beat& beat) {
  json::object out;
  out["agentId"] = beat.agent_id;
  out["agentType"] = text_or_null(beat.agent_type);
  out["instanceId"] = text_or_null(beat.instance_id);
  out["host"] = text_or_null(beat.host);
  out["pid"] = beat.pid == 0 ? json::value() : json::value(beat.pid);
  out["timestamp"] = or_null(beat.timestamp_ms);
  out["sequence"] = or_null(beat.sequence);
  out["status"] = core::name(beat.status);
  out["metrics"] = beat.metrics ? json::value(metrics_json(*beat.metrics)) : json::value();
  out["currentTask"] = or_null(beat.current_task);
  out["taskProgress"] = or_null(beat.task_progress);
  out["intervalMs"] = or_null(beat.interval_ms);
  out["startedAt"] = or_null(beat.started_at_ms);
  json::object labels;
  for (const core::Label& label : beat.labels) labels[label.first] = label.second;
  out["labels"] = std::move(labels);
  out["activity"] = nullptr;
  if (beat.activity) {
    out["activity"] = {{"kind", core::name(beat.activity->kind)},
                       {"operation", text_or_null(beat.activity->operation)},
                       {"forMs", or_null(beat.activity->for_ms)}};
  }
  out["progress"] = nullptr;
  if (beat.progress) {
    json::array recent;
    for (const std::uint64_t digest : beat.progress->recent) recent.emplace_back(hex16(digest));
    out["progress"] = {{"seq", beat.progress->seq},
                       {"action", text_or_null(beat.progress->action)},
                       {"digest", beat.progress->digest ? json::value(hex16(*beat.progress->digest)) : json::value()},
                       {"recent", std::move(recent)}};
  }
  out["capsule"] = text_or_null(base64(beat.capsule));
  out["stack"] = text_or_null(beat.stack);
  out["runner"] = beat.is_runner;
  out["exit"] = nullptr;
  if (beat.exit) {
    out["exit"] = {{"code", beat.exit->code},
                   {"signal", beat.exit->signal},
                   {"output", beat.exit->output_tail},
                   {"restarted", beat.exit->is_restarted},
                   {"spent", beat.exit->spent}};
  }
  return out;
}

// 1 and 1.0 are one number in JSON, but two kinds in Boost.JSON.
json::value normal(const json::value& value) {
  if (value.is_object()) {
    json::object out;
    for (const auto& [key, inner] : value.get_object()) out[key] = normal(inner);
    return out;
  }
  if (value.is_array()) {
    json::array out;
    for (const json::value& inner : value.get_array()) out.push_back(normal(inner));
    return out;
  }
  return value.is_number() ? json::value(value.to_number<double>()) : value;
}

json::array load_vectors(const std::string& file) {
  std::ifstream in(std::string(DEFIB_SOURCE_DIR) + "/protocol/vectors/" + file);
  std::stringstream text;
  text << in.rdbuf();
  return json::parse(text.str()).as_array();
}

class BeatCodecTest : public testing::Test {
 protected:
  Result<Beat> decode(std::string_view message) { return codec_.decode(message, arena_); }
  // The error, or the refusal, or "" where the message is accepted.
  std::string objection(std::string_view message) {
    const Result<Beat> beat = decode(message);
    return beat ? std::string(beat.value().refusal) : beat.error();
  }
  Beat accepted(std::string_view message) {
    const Result<Beat> beat = decode(message);
    EXPECT_TRUE(beat.ok()) << message.substr(0, 200) << ": " << beat.error();
    if (!beat) return {};
    EXPECT_EQ(beat.value().refusal, "") << message.substr(0, 200);
    return beat.value();
  }
  bool is_refused_whole(std::string_view message) { return !decode(message).ok(); }

  std::pmr::monotonic_buffer_resource arena_;
  BeatCodec codec_;
};

// The vectors are the contract with every client library: each message has the stated fate.
class Vectors : public BeatCodecTest, public testing::WithParamInterface<const char*> {};

TEST_P(Vectors, EachMessageHasTheStatedFate) {
  const json::array vectors = load_vectors(GetParam());
  ASSERT_GT(vectors.size(), 10U);
  std::set<std::string> names;
  for (const json::value& entry : vectors) {
    const json::object& vector = entry.as_object();
    const std::string name(vector.at("name").as_string());
    SCOPED_TRACE(name);
    EXPECT_TRUE(names.insert(name).second) << "two vectors of one name";
    const json::string& expect = vector.at("expect").as_string();
    const Result<Beat> beat = decode(vector.at("message").as_string());
    ASSERT_EQ(beat.ok(), expect != "refused") << (beat ? "accepted" : beat.error());
    const std::string objection(beat ? std::string(beat.value().refusal) : beat.error());
    EXPECT_EQ(objection.empty(), expect == "accepted") << objection;
    if (vector.contains("error")) {
      EXPECT_THAT(objection, HasSubstr(std::string(vector.at("error").as_string())));
    }
    if (!vector.contains("fields")) continue;
    const json::object found = understood(beat.value());
    for (const auto& [key, value] : vector.at("fields").as_object()) {
      ASSERT_TRUE(found.contains(key)) << key;
      EXPECT_EQ(normal(found.at(key)), normal(value)) << key;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Protocol, Vectors,
                         testing::Values("heartbeat_accepted.json", "heartbeat_refused.json",
                                         "heartbeat_refused_alive.json"));

constexpr std::string_view kFull =
    R"({"agentId":"a1","agentType":"t","timestamp":1767225600123,"sequence":7,"status":"busy",)"
    R"("metrics":{"cpuPercent":1.5,"memoryMB":2},"currentTask":"\"x\" \u00e9 \ud83d\ude00 ü","taskProgress":4,)"
    R"("intervalMs":10000,"instanceId":"i","startedAt":1767225600000,"host":"h","pid":1,"labels":{"a":"b"},)"
    R"("activity":{"kind":"idle","forMs":5},"progress":{"seq":8,"digest":"00000000deadbeef","recent":)"
    R"(["0000000000000001"]},"capsule":"YWI=","stack":"s","runner":{"version":"1"},"exit":{"code":1},)"
    R"("other":[{"x":[1,-2.5e3,true,false,null,"\\"]}]})";

// A connection may break anywhere; half a message is no message.
TEST_F(BeatCodecTest, EveryTruncationOfAValidMessageIsRefused) {
  ASSERT_EQ(objection(kFull), "");
  for (std::size_t size = 0; size < kFull.size(); ++size) {
    EXPECT_TRUE(is_refused_whole(kFull.substr(0, size))) << size;
  }
}

// On-demand parsers skip without checking what nobody reads; a strict parser must agree with all that we accept.
TEST_F(BeatCodecTest, NothingIsAcceptedThatAStrictParserRefuses) {
  constexpr std::string_view kBytes("\0\x01\n\"\\{}[],:0-.eEtfnu \x7f\x80\xc3\xed\xff", 27);
  std::size_t accepted_count = 0;
  for (std::size_t at = 0; at < kFull.size(); ++at) {
    for (const char byte : kBytes) {
      std::string message(kFull);
      message[at] = byte;
      if (is_refused_whole(message)) continue;
      ++accepted_count;
      boost::system::error_code error;
      json::parse(message, error);
      EXPECT_FALSE(error) << message << ": " << error.message();
      message.erase(at, 1);
      if (!is_refused_whole(message)) {
        json::parse(message, error);
        EXPECT_FALSE(error) << message << ": " << error.message();
      }
    }
  }
  EXPECT_GT(accepted_count, 100U);
}

TEST_F(BeatCodecTest, BytesThatAreNotUtf8AreRefused) {
  for (const std::string_view bytes :
       {"\x80", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\xf0\x9f\x98"}) {
    EXPECT_TRUE(is_refused_whole(R"({"agentId":"a1","currentTask":")" + std::string(bytes) + "\"}"));
    EXPECT_TRUE(is_refused_whole(R"({"agentId":"a1","x":")" + std::string(bytes) + "\"}"));
    EXPECT_TRUE(is_refused_whole(R"({"agentId":"a1",")" + std::string(bytes) + "\":1}"));
  }
}

TEST_F(BeatCodecTest, NoHalfOfASurrogatePairPasses) {
  for (unsigned unit = 0xd800; unit <= 0xdfff; ++unit) {
    const std::string half = "\\u" + hex16(unit).substr(12);
    EXPECT_TRUE(is_refused_whole(R"({"agentId":"a1","currentTask":")" + half + "\"}")) << half;
    EXPECT_TRUE(is_refused_whole(R"({"agentId":"a1","x":")" + half + "\\u0041\"}")) << half;
    EXPECT_TRUE(is_refused_whole(R"({"agentId":"a1","x":")" + half + "\\ud800\"}")) << half;
    EXPECT_TRUE(is_refused_whole(R"({"agentId":"a1",")" + half + "\":1}")) << half;
  }
}

TEST_F(BeatCodecTest, NestingIsBounded) {
  const auto nested = [](std::size_t depth, std::string_view open, std::string_view close) {
    std::string out = R"({"agentId":"a1","x":)";
    for (std::size_t i = 0; i < depth; ++i) out += open;
    out += "1";
    for (std::size_t i = 0; i < depth; ++i) out += close;
    return out + "}";
  };
  EXPECT_EQ(objection(nested(kDepthMax - 2, "[", "]")), "");
  EXPECT_EQ(objection(nested(kDepthMax - 2, R"({"x":)", "}")), "");
  for (const std::size_t depth : {kDepthMax, std::size_t{1'000}, std::size_t{10'000}, std::size_t{30'000}}) {
    EXPECT_THAT(objection(nested(depth, "[", "]")), HasSubstr("nested deeper than 32")) << depth;
  }
  EXPECT_THAT(objection(nested(10'000, R"({"x":)", "}")), HasSubstr("nested deeper than 32"));
  EXPECT_TRUE(is_refused_whole(std::string(60'000, '[')));
  std::string open;
  for (int i = 0; i < 10'000; ++i) open += R"({"a":)";
  EXPECT_TRUE(is_refused_whole(open));
}

TEST_F(BeatCodecTest, AMessageHasAtMost64KiB) {
  const std::string head = R"({"agentId":"a1","x":")";
  const std::string fits = head + std::string(core::kBeatBytesMax - head.size() - 2, 'x') + "\"}";
  ASSERT_EQ(fits.size(), core::kBeatBytesMax);
  EXPECT_EQ(objection(fits), "");
  EXPECT_THAT(objection(fits + " "), HasSubstr("65537 bytes; expected at most 65536"));
  EXPECT_TRUE(is_refused_whole(std::string(10 * core::kBeatBytesMax, '{')));
  EXPECT_EQ(objection(R"({"agentId":"a1"})"), "") << "a giant must leave the codec as it was";
}

// The buffer is used again: what a longer message left behind must not complete a shorter one.
TEST_F(BeatCodecTest, LeftoversOfALongerMessageCompleteNothing) {
  const std::string whole = R"({"agentId":"a1","x":{"y":[1,2]}})";
  for (std::size_t size = 1; size < whole.size(); ++size) {
    ASSERT_EQ(objection(whole), "");
    EXPECT_TRUE(is_refused_whole(std::string_view(whole).substr(0, size))) << size;
  }
}

TEST_F(BeatCodecTest, TextLivesInTheArenaWhileOtherMessagesAreDecoded) {
  const Beat first = accepted(kFull);
  const Result<Beat> refused = decode(R"({"agentId":"a2","status":"odd"})");
  ASSERT_TRUE(refused.ok());
  for (int i = 0; i < 100; ++i)
    accepted(R"({"agentId":"zzzzzzzzzzzz","agentType":"zzzz","currentTask":"zzzzzzzzzzzzzzzzz"})");
  EXPECT_EQ(first.agent_id, "a1");
  EXPECT_EQ(first.current_task, "\"x\" é 😀 ü");
  EXPECT_EQ(first.capsule, "ab");
  EXPECT_EQ(first.labels[0], core::Label("a", "b"));
  EXPECT_THAT(std::string(refused.value().refusal), HasSubstr("odd"));
}

TEST_F(BeatCodecTest, OutputKeepsItsEndAndTaskItsBeginning) {
  const std::string output = std::string(100, 'a') + "é" + std::string(core::kOutputTailBytesMax - 1, 'b');
  const Beat beat = accepted(R"({"agentId":"a1","exit":{"code":1,"output":")" + output + "\"}}");
  EXPECT_EQ(beat.exit->output_tail, std::string(core::kOutputTailBytesMax - 1, 'b')) << "no half of the é";
  const Beat long_task = accepted(R"({"agentId":"a1","currentTask":"begin)" + std::string(1000, 'x') + "\"}");
  EXPECT_EQ(*long_task.current_task, "begin" + std::string(core::kTaskBytesMax - 5, 'x'));
  const Beat long_stack = accepted(R"({"agentId":"a1","stack":")" + std::string(20'000, 'x') + "\"}");
  EXPECT_EQ(long_stack.stack.size(), kStackBytesMax);
}

TEST_F(BeatCodecTest, ACapsuleOf16KiBFits) {
  const std::string bytes(core::kCapsuleBytesMax, '\xfe');
  EXPECT_EQ(accepted(R"({"agentId":"a1","capsule":")" + base64(bytes) + "\"}").capsule, bytes);
}

TEST_F(BeatCodecTest, AHoldIsCappedFarFromOverflow) {
  const Beat beat = accepted(R"({"agentId":"a1","activity":{"kind":"working","forMs":1e300}})");
  EXPECT_EQ(from_ms(*beat.activity->for_ms), Duration(366 * 24h));
}

// A refusal ends up in logs and answers: foreign text in it is short and can't break a line.
TEST_F(BeatCodecTest, ForeignTextInAnErrorIsTamed) {
  const std::string error = objection(R"({"agentId":"a1","status":"x\n\u001b[31m)" + std::string(5000, 'y') + "\"}");
  EXPECT_LT(error.size(), 200U);
  EXPECT_EQ(error.find('\n'), std::string::npos);
  EXPECT_EQ(error.find('\x1b'), std::string::npos);
}

TEST_F(BeatCodecTest, CountsWhatItIgnored) {
  accepted(R"({"agentId":"a1","intervalMs":1,"timestamp":0,"startedAt":-1,"x":1,"metrics":{"y":{"z":1}}})");
  EXPECT_EQ(codec_.counters().decoded, 1U);
  EXPECT_EQ(codec_.counters().interval_ignored, 1U);
  EXPECT_EQ(codec_.counters().timestamp_ignored, 2U);
  EXPECT_EQ(codec_.counters().unknown_fields, 2U);
  EXPECT_EQ(codec_.counters().refused, 0U);
  decode(R"({"agentId":"a1","status":"odd"})").ok();
  EXPECT_EQ(codec_.counters().decoded, 2U);
  EXPECT_EQ(codec_.counters().refused, 1U);
  decode("{}").ok();
  decode("{").ok();
  decode(std::string(core::kBeatBytesMax + 1, ' ')).ok();
  EXPECT_EQ(codec_.counters().decoded, 2U);
  EXPECT_EQ(codec_.counters().refused, 4U);
}

// ---- Properties -------------------------------------------------------------------------------------

rc::Gen<std::string> any_id() {
  static const std::string kFirst = "ABCXYZabcxyz0189_:";
  return rc::gen::map(
      rc::gen::pair(rc::gen::elementOf(kFirst), rc::gen::container<std::string>(rc::gen::elementOf(kFirst + ".-"))),
      [](const std::pair<char, std::string>& parts) { return (parts.first + parts.second).substr(0, 128); });
}

// Printable ASCII, and what JSON must escape.
rc::Gen<std::string> any_text() { return rc::gen::container<std::string>(rc::gen::inRange<char>(1, 127)); }

RC_GTEST_PROP(BeatCodecProperty, WhatIsWrittenIsRead, ()) {
  json::object written;
  written["agentId"] = *any_id();
  written["sequence"] = *rc::gen::inRange<std::uint64_t>(0, std::uint64_t{1} << 53);
  written["timestamp"] = *rc::gen::inRange<std::int64_t>(978'307'200'000, 7'258'118'400'000);
  written["status"] = core::name(static_cast<core::Status>(*rc::gen::inRange(0, 5)));
  const std::string task = (*any_text()).substr(0, core::kTaskBytesMax);
  written["currentTask"] = text_or_null(task);
  written["taskProgress"] = *rc::gen::inRange(0, 1001) / 10.0;
  written["intervalMs"] = *rc::gen::inRange<std::int64_t>(100, 604'800'001);
  const auto metric = [] { return static_cast<double>(*rc::gen::inRange<std::int64_t>(0, 1'000'000'000'000'000)) / 8; };
  written["metrics"] = metrics_json({metric(), metric(), metric(), metric(), metric(), metric()});
  const std::string capsule = *rc::gen::arbitrary<std::string>();
  written["capsule"] = text_or_null(base64(capsule.substr(0, core::kCapsuleBytesMax)));
  json::array recent;
  for (const std::uint64_t digest : *rc::gen::arbitrary<std::vector<std::uint64_t>>()) {
    if (recent.size() < core::kRecentDigestsMax) recent.emplace_back(hex16(digest));
  }
  written["progress"] = {{"seq", *rc::gen::inRange<std::uint64_t>(0, std::uint64_t{1} << 53)},
                         {"action", text_or_null((*any_text()).substr(0, core::kTaskBytesMax))},
                         {"digest", hex16(*rc::gen::arbitrary<std::uint64_t>())},
                         {"recent", std::move(recent)}};
  written["activity"] = {{"kind", core::name(static_cast<core::ActivityKind>(*rc::gen::inRange(0, 6)))},
                         {"operation", text_or_null((*any_text()).substr(0, core::kTaskBytesMax))},
                         {"forMs", *rc::gen::inRange(0, 1'000'000'000)}};
  BeatCodec codec;
  std::pmr::monotonic_buffer_resource arena;
  const Result<Beat> beat = codec.decode(json::serialize(written), arena);
  RC_ASSERT(beat.ok());
  RC_ASSERT(beat.value().refusal.empty());
  const json::object read = understood(beat.value());
  for (const auto& [key, value] : written) RC_ASSERT(normal(read.at(key)) == normal(value));
}

RC_GTEST_PROP(BeatCodecProperty, AnyBytesAreSurvivedAndOnlyGoodIdsAccepted, (const std::string& bytes)) {
  BeatCodec codec;
  std::pmr::monotonic_buffer_resource arena;
  for (const std::string& message :
       {bytes, "{\"agentId\":\"" + bytes + "\"}", "{\"agentId\":\"a\",\"x\":" + bytes + "}"}) {
    const Result<Beat> beat = codec.decode(message, arena);
    if (!beat) {
      RC_ASSERT(!beat.error().empty());
      continue;
    }
    RC_ASSERT(is_valid_agent_id(beat.value().agent_id));
    boost::system::error_code error;
    json::parse(message, error);
    RC_ASSERT(!error);
  }
}

}  // namespace
}  // namespace defib::ingest
