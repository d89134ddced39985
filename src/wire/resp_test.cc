#include "wire/resp.h"

#include <algorithm>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <hiredis/hiredis.h>
#include <memory>
#include <rapidcheck.h>
#include <string>
#include <vector>

namespace defib::wire {
namespace {

using Words = std::vector<std::string>;

// All commands that the parser makes of `pieces`, fed one after the other.
struct Parsed {
  std::vector<Words> commands;
  std::vector<bool> oversized;
  std::string fatal;
  std::size_t held_at_most = 0;
};

Parsed parse(const std::vector<std::string>& pieces) {
  CommandParser parser;
  Parsed out;
  for (const std::string& piece : pieces) {
    // A copy of its own, so that a view kept past its time is a fault that ASan sees.
    const auto bytes = std::make_unique<char[]>(piece.size());
    std::ranges::copy(piece, bytes.get());
    if (!parser.feed({bytes.get(), piece.size()}).ok()) break;
    while (const auto command = parser.next()) {
      out.commands.emplace_back(command->arguments.begin(), command->arguments.end());
      out.oversized.push_back(command->is_oversized);
    }
    out.held_at_most = std::max(out.held_at_most, parser.bytes_held());
  }
  out.fatal = parser.fatal();
  return out;
}

std::string bulk(std::string_view text) { return fmt::format("${}\r\n{}\r\n", text.size(), text); }

std::string as_array(const Words& words) {
  std::string out = fmt::format("*{}\r\n", words.size());
  for (const std::string& word : words) out += bulk(word);
  return out;
}

std::vector<std::string> cut_everywhere(const std::string& bytes) {
  std::vector<std::string> pieces;
  for (const char c : bytes) pieces.emplace_back(1, c);
  return pieces;
}

TEST(CommandParser, PipelinedCommandsComeOutInOrder) {
  const Parsed out =
      parse({as_array({"PING"}) + as_array({"PUBLISH", "heartbeats", "{}"}) + "ECHO  hi\r\n" + as_array({"", ""})});
  EXPECT_EQ(out.commands, (std::vector<Words>{{"PING"}, {"PUBLISH", "heartbeats", "{}"}, {"ECHO", "hi"}, {"", ""}}));
  EXPECT_EQ(out.fatal, "");
}

TEST(CommandParser, EverySplitPositionParsesTheSame) {
  const std::string bytes =
      as_array({"HSET", "agent:a", "x\r\n$3", ""}) + "\r\n*0\r\n*-1\r\nping \"a\\x41 b\" 'c d'\n" + as_array({"GET"});
  const std::vector<Words> expected{{"HSET", "agent:a", "x\r\n$3", ""}, {"ping", "aA b", "c d"}, {"GET"}};
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    const Parsed out = parse({bytes.substr(0, cut), bytes.substr(cut)});
    EXPECT_EQ(out.commands, expected) << "cut at " << cut;
    EXPECT_EQ(out.fatal, "") << "cut at " << cut;
  }
  EXPECT_EQ(parse(cut_everywhere(bytes)).commands, expected);
}

TEST(CommandParser, RandomCommandsCutAtRandomParseTheSame) {
  const bool holds = rc::check("commands survive any cut", [] {
    const auto word = rc::gen::container<std::string>(rc::gen::arbitrary<char>());
    const auto commands = *rc::gen::container<std::vector<Words>>(rc::gen::nonEmpty(rc::gen::container<Words>(word)));
    std::string bytes;
    for (const Words& command : commands) bytes += as_array(command);
    std::vector<std::string> pieces;
    while (!bytes.empty()) {
      const auto cut = *rc::gen::inRange<std::size_t>(1, std::min<std::size_t>(bytes.size(), 40) + 1);
      pieces.push_back(bytes.substr(0, cut));
      bytes.erase(0, cut);
    }
    const Parsed out = parse(pieces);
    RC_ASSERT(out.fatal.empty());
    RC_ASSERT(out.commands == commands);
  });
  EXPECT_TRUE(holds);
}

TEST(CommandParser, AReaderMayStopAndGoOn) {
  CommandParser parser;
  auto bytes = std::make_unique<std::string>(as_array({"A", "1"}) + as_array({"B", "2"}) + "*1\r\n$1\r\n");
  ASSERT_TRUE(parser.feed(*bytes).ok());
  ASSERT_EQ(parser.next()->arguments[0], "A");
  parser.keep();
  bytes.reset();
  const auto command = parser.next();
  ASSERT_TRUE(command);
  EXPECT_EQ(command->arguments[1], "2");
  EXPECT_FALSE(parser.next());
  EXPECT_TRUE(parser.is_within_command());
  ASSERT_TRUE(parser.feed("C\r\n").ok());
  EXPECT_EQ(parser.next()->arguments[0], "C");
  EXPECT_FALSE(parser.next());
  EXPECT_FALSE(parser.is_within_command());
  EXPECT_EQ(parser.bytes_held(), 0U);
}

TEST(CommandParser, AnOversizedBulkIsReadOverAndReported) {
  const std::string big(kRespBulkBytesMax + 1, 'x');
  const std::string fits(kRespBulkBytesMax, 'y');
  const std::string bytes = as_array({"PUBLISH", "heartbeats", big, "last"}) + as_array({"ECHO", fits});
  std::vector<std::string> slices;
  for (std::size_t at = 0; at < bytes.size(); at += 1000) slices.push_back(bytes.substr(at, 1000));
  for (const auto& pieces : {std::vector<std::string>{bytes}, slices}) {
    const Parsed out = parse(pieces);
    EXPECT_EQ(out.commands, (std::vector<Words>{{"PUBLISH", "heartbeats", "", "last"}, {"ECHO", fits}}));
    EXPECT_EQ(out.oversized, (std::vector<bool>{true, false}));
  }
  // While it is read over nothing of it is held.
  std::vector<std::string> trickle{"*2\r\n$4\r\nECHO\r\n$1000000\r\n"};
  for (int i = 0; i < 999; ++i) trickle.emplace_back(1000, 'x');
  EXPECT_LT(parse(trickle).held_at_most, 100U);
}

TEST(CommandParser, LengthsThatAreMerelyToldCostNothingAndEndIt) {
  const std::vector<std::string> broken{"*1025\r\n",
                                        "*10000\r\n",
                                        "*1000000000\r\n",
                                        "*99999999999999999999999\r\n",
                                        "*1\r\n$1048577\r\n",
                                        "*1\r\n$4294967296\r\n",
                                        "*1\r\n$9223372036854775807\r\n",
                                        "*1\r\n$-1\r\n",
                                        "*1\r\n$\r\n",
                                        "*\r\n",
                                        "*1x\r\n",
                                        "*+1\r\n",
                                        "*01\r\n",
                                        "*1\r\n+OK\r\n",
                                        "*1\r\n\r\n",
                                        "*1\r\n$1\r\nab\r\n",
                                        "*1\r\n$1\r\na\n\n",
                                        std::string(40, '*'),
                                        "*1\r\n$" + std::string(40, '1'),
                                        "ping \"a\r\n",
                                        "ping \"a\"b\r\n",
                                        std::string(kRespInlineBytesMax + 2, 'a')};
  for (const std::string& bytes : broken) {
    const Parsed whole = parse({bytes});
    EXPECT_TRUE(whole.commands.empty()) << bytes.substr(0, 60);
    EXPECT_NE(whole.fatal, "") << bytes.substr(0, 60);
    EXPECT_LE(whole.held_at_most, bytes.size() + 1);
    EXPECT_EQ(parse(cut_everywhere(bytes)).fatal, whole.fatal);
  }
  EXPECT_EQ(parse({"*1024\r\n"}).fatal, "");
  EXPECT_EQ(parse({"*1\r\n$1048576\r\n"}).fatal, "");
}

TEST(CommandParser, OneCommandIsBoundedAsAWhole) {
  std::string bytes = "*1024\r\n";
  const std::string argument = bulk(std::string(kRespBulkBytesMax, 'x'));
  for (int i = 0; i < 20; ++i) bytes += argument;
  const Parsed out = parse({bytes});
  EXPECT_NE(out.fatal, "");
  EXPECT_LT(parse(cut_everywhere(bytes)).held_at_most, kRespTotalBytesMax + 1024);
}

TEST(CommandParser, HttpIsTurnedAway) {
  for (const std::string line : {"POST / HTTP/1.1\r\n", "post x\n", "Host: localhost\r\n", "HOST: a\r\n"}) {
    const Parsed out = parse({line + "PING\r\n"});
    EXPECT_NE(out.fatal, "") << line;
    EXPECT_TRUE(out.commands.empty()) << line;
  }
  CommandParser parser;
  ASSERT_TRUE(parser.feed("POST / HTTP/1.1\r\n").ok());
  EXPECT_FALSE(parser.next());
  EXPECT_FALSE(parser.feed("PING\r\n").ok());
}

// ---- Replies -----------------------------------------------------------------------------------------

struct Replies {
  std::vector<RespValue> values;
  std::string fatal;
};

Replies read_replies(const std::vector<std::string>& pieces) {
  ReplyParser parser;
  Replies out;
  for (const std::string& piece : pieces) {
    if (!parser.feed(piece).ok()) break;
    while (auto value = parser.next()) out.values.push_back(std::move(*value));
  }
  out.fatal = parser.fatal();
  return out;
}

// One line a value, so that trees compare and print.
std::string shown(const RespValue& value) {
  static constexpr const char* kNames[] = {"simple", "error", "integer", "bulk",    "null", "array",
                                           "map",    "set",   "push",    "boolean", "real"};
  std::string out = fmt::format("{}:{}:{}", kNames[static_cast<int>(value.kind)], value.text, value.integer);
  if (value.items.empty()) return out;
  out += "[";
  for (const RespValue& item : value.items) out += shown(item) + ",";
  return out + "]";
}

std::string shown(const redisReply& reply) {
  const auto text = [&reply] {
    return reply.str == nullptr ? std::string() : std::string(reply.str, static_cast<std::size_t>(reply.len));
  };
  switch (reply.type) {
    case REDIS_REPLY_STATUS:
      return fmt::format("simple:{}:0", text());
    case REDIS_REPLY_ERROR:
      return fmt::format("error:{}:0", text());
    case REDIS_REPLY_STRING:
      return fmt::format("bulk:{}:0", text());
    case REDIS_REPLY_INTEGER:
      return fmt::format("integer::{}", reply.integer);
    case REDIS_REPLY_NIL:
      return "null::0";
    default:
      break;
  }
  std::string out = "array::0";
  if (reply.elements == 0) return out;
  out += "[";
  for (std::size_t i = 0; i < reply.elements; ++i) out += shown(*reply.element[i]) + ",";
  return out + "]";
}

// A valid RESP2 reply; aggregates no deeper than hiredis bears (7 levels).
std::string random_reply(int depth) {
  switch (*rc::gen::inRange(0, depth > 0 ? 8 : 6)) {
    case 0:
      return "+" + *rc::gen::container<std::string>(rc::gen::inRange('a', 'z')) + "\r\n";
    case 1:
      return "-ERR " + *rc::gen::container<std::string>(rc::gen::inRange('a', 'z')) + "\r\n";
    case 2:
      return fmt::format(":{}\r\n", *rc::gen::arbitrary<std::int64_t>());
    case 3:
      return "$-1\r\n";
    case 4:
      return "*-1\r\n";
    case 5:
      return bulk(*rc::gen::container<std::string>(rc::gen::arbitrary<char>()));
    default:
      break;
  }
  const int items = *rc::gen::inRange(0, 4);
  std::string out = fmt::format("*{}\r\n", items);
  for (int i = 0; i < items; ++i) out += random_reply(depth - 1);
  return out;
}

TEST(ReplyParser, AgreesWithHiredisOnValidReplies) {
  const bool holds = rc::check("same tree as redisReader", [] {
    const std::string bytes = random_reply(4) + random_reply(2);
    const std::unique_ptr<redisReader, decltype(&redisReaderFree)> reader(redisReaderCreate(), &redisReaderFree);
    std::vector<std::string> theirs;
    redisReaderFeed(reader.get(), bytes.data(), bytes.size());
    void* reply = nullptr;
    while (redisReaderGetReply(reader.get(), &reply) == REDIS_OK && reply != nullptr) {
      theirs.push_back(shown(*static_cast<redisReply*>(reply)));
      freeReplyObject(reply);
      reply = nullptr;
    }
    for (const auto& pieces : {std::vector<std::string>{bytes}, cut_everywhere(bytes)}) {
      const Replies ours = read_replies(pieces);
      RC_ASSERT(ours.fatal.empty());
      std::vector<std::string> lines;
      for (const RespValue& value : ours.values) lines.push_back(shown(value));
      RC_ASSERT(lines == theirs);
    }
  });
  EXPECT_TRUE(holds);
}

TEST(ReplyParser, ReadsResp3) {
  const std::string bytes =
      "%2\r\n+server\r\n$5\r\nredis\r\n+proto\r\n:3\r\n"
      ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n=5\r\ntxt:x\r\n"
      "~1\r\n#t\r\n_\r\n,1.5e3\r\n(123456789012345678901\r\n!5\r\nERR x\r\n"
      "|1\r\n+ttl\r\n:1\r\n*2\r\n|0\r\n#f\r\n%0\r\n:+7\r\n";
  const std::vector<std::string> expected{"map::0[simple:server:0,bulk:redis:0,simple:proto:0,integer::3,]",
                                          "push::0[bulk:message:0,bulk:c:0,bulk:x:0,]",
                                          "set::0[boolean::1,]",
                                          "null::0",
                                          "real:1.5e3:0",
                                          "real:123456789012345678901:0",
                                          "error:ERR x:0",
                                          "array::0[boolean::0,map::0,]",
                                          "integer::7"};
  for (const auto& pieces : {std::vector<std::string>{bytes}, cut_everywhere(bytes)}) {
    const Replies out = read_replies(pieces);
    EXPECT_EQ(out.fatal, "");
    std::vector<std::string> lines;
    for (const RespValue& value : out.values) lines.push_back(shown(value));
    EXPECT_EQ(lines, expected);
  }
}

TEST(ReplyParser, HostileRepliesEndIt) {
  std::string deep;
  for (std::size_t i = 0; i <= kRespDepthMax; ++i) deep += "*1\r\n";
  std::string large = "*65536\r\n";
  for (int i = 0; i < 20; ++i) large += bulk(std::string(kRespBulkBytesMax, 'x'));
  const std::vector<std::string> broken{deep,
                                        large,
                                        "*1000000000\r\n",
                                        "%-1\r\n",
                                        "*-2\r\n",
                                        "$-2\r\n",
                                        "$1048577\r\n",
                                        "$4294967295\r\n",
                                        "$?\r\n",
                                        "*?\r\n",
                                        "\r\n",
                                        "hello\r\n",
                                        ":\r\n",
                                        ":1x\r\n",
                                        ":+-1\r\n",
                                        ":99999999999999999999\r\n",
                                        "#x\r\n",
                                        "_x\r\n",
                                        ",\r\n",
                                        "=3\r\ntxt\r\n",
                                        "$1\r\nabc\r\n",
                                        "+" + std::string(kRespInlineBytesMax + 1, 'x')};
  for (const std::string& bytes : broken) {
    const Replies out = read_replies({bytes});
    EXPECT_NE(out.fatal, "") << bytes.substr(0, 60);
    EXPECT_TRUE(out.values.empty()) << bytes.substr(0, 60);
  }
}

TEST(AppendCommand, WritesAnArrayOfBulks) {
  std::string out;
  append_command(out, {"PUBLISH", "heartbeats", "a\r\nb"});
  EXPECT_EQ(out, "*3\r\n$7\r\nPUBLISH\r\n$10\r\nheartbeats\r\n$4\r\na\r\nb\r\n");
  EXPECT_EQ(parse({out}).commands, (std::vector<Words>{{"PUBLISH", "heartbeats", "a\r\nb"}}));
}

}  // namespace
}  // namespace defib::wire
