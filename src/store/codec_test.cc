#include "store/codec.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "store/test_support.h"

namespace defib::store {
namespace {

// What stands in columns of their own.
core::AgentRecord body_of(core::AgentRecord record) {
  record.key = 0;
  record.id.clear();
  record.task_progress.reset();
  record.capsule.clear();
  return record;
}

TEST(Codec, AgentWithEveryFieldSetComesBack) {
  const core::AgentRecord record = body_of(full_agent(3, "a"));
  core::AgentRecord read;
  ASSERT_TRUE(decode(encode(record, {}), {}, read));
  EXPECT_EQ(read, record);
}

TEST(Codec, EmptyRecordsComeBack) {
  core::AgentRecord agent;
  ASSERT_TRUE(decode(encode(core::AgentRecord{}, {}), {}, agent));
  EXPECT_EQ(agent, core::AgentRecord{});
  core::Incident incident;
  ASSERT_TRUE(decode(encode(core::Incident{}), incident));
  EXPECT_EQ(incident, core::Incident{});
  core::NoticeRecord notice;
  ASSERT_TRUE(decode(encode(core::NoticeRecord{}), notice));
  EXPECT_EQ(notice, core::NoticeRecord{});
}

TEST(Codec, IncidentAndNoticeWithEveryFieldSetComeBack) {
  core::Incident incident;
  ASSERT_TRUE(decode(encode(full_incident(9)), incident));
  EXPECT_EQ(incident, full_incident(9));
  core::NoticeRecord done = full_notice(8);
  done.is_done = true;
  core::NoticeRecord notice;
  ASSERT_TRUE(decode(encode(done), notice));
  EXPECT_EQ(notice, done);
}

TEST(Codec, EveryEnumeratorComesBack) {
  for (std::size_t i = 0; i < core::kPhaseCount; ++i) {
    core::Incident incident, read;
    incident.phase = static_cast<core::Phase>(i);
    incident.verdict = static_cast<core::Verdict>(std::min<std::size_t>(i, 6));
    ASSERT_TRUE(decode(encode(incident), read));
    EXPECT_EQ(read, incident);
  }
  for (std::size_t i = 0; i < core::kStateCount; ++i) {
    core::AgentRecord agent, read;
    agent.state = static_cast<core::State>(i);
    agent.source = static_cast<core::Source>(i % core::kSourceCount);
    ASSERT_TRUE(decode(encode(agent, {}), {}, read));
    EXPECT_EQ(read, agent);
  }
}

// Output of programs and tasks is whatever bytes they wrote.
TEST(Codec, AnyBytesComeBack) {
  EXPECT_TRUE(rc::check([](const std::vector<std::uint8_t>& bytes, std::int64_t number, std::uint64_t sequence) {
    core::AgentRecord record;
    record.current_task.assign(bytes.begin(), bytes.end());
    record.labels = {{record.current_task, "x"}};
    record.past = {{record.current_task, sequence, true}};
    record.pid = number;
    record.timestamp_ms = number;
    record.sequence = sequence;
    record.last_heard = Instant(Duration(number));
    core::AgentRecord read;
    RC_ASSERT(decode(encode(record, {}), {}, read));
    RC_ASSERT(read == record);
  }));
}

TEST(Codec, AnyInputIsReadOrRefusedButNeverHarmful) {
  const std::string good = encode(full_agent(1, "a"), {});
  EXPECT_TRUE(rc::check([&good](const std::vector<std::uint8_t>& garbage, std::size_t at) {
    std::string body = good;
    for (std::size_t i = 0; i < garbage.size(); ++i) body[(at + i) % body.size()] = static_cast<char>(garbage[i]);
    core::AgentRecord agent;
    core::Incident incident;
    core::CheckpointChunk chunk;
    decode(body, {}, agent);
    decode(body, incident);
    decode(body, {}, chunk);
  }));
}

// A later version may add fields, an earlier one may have had fewer.
TEST(Codec, UnknownFieldsArePassedOverAndMissingOnesHaveTheirDefault) {
  core::NoticeRecord notice;
  ASSERT_TRUE(decode(R"({"id":4,"colour":{"red":[1,2]},"status":"resolved"})", notice));
  EXPECT_EQ(notice.id, 4u);
  EXPECT_EQ(notice.status, core::NoticeStatus::resolved);
  EXPECT_EQ(notice.channel, "");
}

TEST(Codec, WrongTypesAreRefused) {
  for (const char* body :
       {"", "[]", "7", R"({"id":"4"})", R"({"id":-1})", R"({"id":1.5})", R"({"status":"melting"})", R"({"status":3})",
        R"({"channel":1})", R"({"done":1})", R"({"created_at":"now"})", R"({"id":4)"}) {
    core::NoticeRecord notice;
    EXPECT_FALSE(decode(body, notice)) << body;
  }
  for (const char* body : {R"({"attempts":{}})", R"({"attempts":[1]})", R"({"attempts":[{"n":-1}]})",
                           R"({"attempts":[{"n":4294967296}]})", R"({"closed_at":null})"}) {
    core::Incident incident;
    EXPECT_FALSE(decode(body, incident)) << body;
  }
  for (const char* body : {R"({"labels":["a"]})", R"({"labels":[1,2]})", R"({"labels":{}})"}) {
    core::AgentRecord agent;
    EXPECT_FALSE(decode(body, {}, agent)) << body;
  }
}

TEST(Codec, CheckpointsArePackedLittleEndian) {
  core::CheckpointChunk chunk;
  chunk.entries = {{Instant(Duration(0x0102030405060708)), -2, 0xfffffffffffffffe, 3}, {}};
  const std::string blob = encode(chunk, {});
  const std::string expected(
      "\x08\x07\x06\x05\x04\x03\x02\x01"
      "\xfe\xff\xff\xff\xff\xff\xff\xff"
      "\xfe\xff\xff\xff\xff\xff\xff\xff"
      "\x03\x00\x00\x00\x00\x00\x00\x00",
      32);
  EXPECT_EQ(blob, expected + std::string(32, '\0'));
  core::CheckpointChunk read;
  ASSERT_TRUE(decode(blob, {}, read));
  EXPECT_EQ(read, chunk);
  EXPECT_FALSE(decode(blob.substr(1), JournalScale{}, read));
  EXPECT_FALSE(decode(std::string(32 * (core::kCheckpointChunk + 1), 'x'), JournalScale{}, read));
}

// The journal's scale goes on where a boot starts over; "none" stays none.
TEST(Codec, InstantsAreShiftedByTheScaleAndZeroIsNot) {
  core::AgentRecord record;
  record.last_heard = Instant(5s);
  core::AgentRecord read;
  ASSERT_TRUE(decode(encode(record, {.offset = 100s}), {.offset = 98s}, read));
  EXPECT_EQ(read.last_heard, Instant(7s));
  EXPECT_EQ(read.registered, Instant{});
}

}  // namespace
}  // namespace defib::store
