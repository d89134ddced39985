#include "run/messages.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "base/ids.h"
#include "run/run_program.h"

namespace defib::run {
namespace {

namespace json = boost::json;

Instance an_instance() {
  return {.agent_id = "a1",
          .agent_type = "program",
          .host = "box",
          .id = "0011223344556677",
          .pid = 42,
          .started_at = wall_from_ms(1'000),
          .interval = 30s};
}

json::object object_of(const Message& message) { return json::parse(message.json).as_object(); }

TEST(Messages, ABeatHasTheGuidesShapeAndWhatIsKnownOfTheInstance) {
  Instance instance = an_instance();
  const Message message = beat_message(instance, wall_from_ms(5'000), {.cpu_percent = 12.5, .memory_mb = 33.25});
  const json::object beat = object_of(message);
  EXPECT_EQ(beat.at("agentId").as_string(), "a1");
  EXPECT_EQ(beat.at("timestamp").as_int64(), 5'000);
  EXPECT_EQ(beat.at("sequence").as_int64(), 1);
  EXPECT_EQ(beat.at("status").as_string(), "healthy");
  EXPECT_EQ(beat.at("intervalMs").as_int64(), 30'000);
  EXPECT_EQ(beat.at("instanceId").as_string(), "0011223344556677");
  EXPECT_EQ(beat.at("startedAt").as_int64(), 1'000);
  EXPECT_EQ(beat.at("pid").as_int64(), 42);
  EXPECT_DOUBLE_EQ(beat.at("metrics").at("cpuPercent").as_double(), 12.5);
  EXPECT_DOUBLE_EQ(beat.at("metrics").at("memoryMB").as_double(), 33.25);
  EXPECT_EQ(beat.at("metrics").at("errorsLast5Min").as_int64(), 0);
  EXPECT_TRUE(beat.at("runner").as_object().contains("version"));
  EXPECT_EQ(object_of(beat_message(instance, wall_from_ms(6'000), {})).at("sequence").as_int64(), 2);
}

TEST(Messages, OutputThatIsNoTextStaysReadableAndBelowTheBoundOfAMessage) {
  Instance instance = an_instance();
  std::string output = "caf\xc3\xa9 \xff\xfe \"quoted\"\n";
  json::object exit = object_of(exit_message(instance, {}, {.code = 3, .output = output})).at("exit").as_object();
  EXPECT_EQ(exit.at("output").as_string(), "caf\xc3\xa9 \xef\xbf\xbd\xef\xbf\xbd \"quoted\"\n");
  EXPECT_EQ(exit.at("code").as_int64(), 3);
  // Escapes make the most of a byte: six.
  output.assign(core::kOutputTailBytesMax, '\x01');
  EXPECT_LT(exit_message(instance, {}, {.output = output}).json.size(), core::kBeatBytesMax);
  output.assign(core::kOutputTailBytesMax, '\xff');
  EXPECT_LT(exit_message(instance, {}, {.output = output}).json.size(), core::kBeatBytesMax);
}

TEST(Messages, AGoodbyeIsNeverOlderThanItsRegistration) {
  Instance instance = an_instance();
  const Message goodbye = goodbye_message(instance, wall_from_ms(10), std::nullopt);
  EXPECT_EQ(object_of(goodbye).at("status").as_string(), "stopped");
  EXPECT_EQ(goodbye.fields.at(1), (std::pair<std::string, std::string>("stoppedAt", "1000")));
}

TEST(Messages, CommandsAreReadAndWhatIsNoneIsRefused) {
  const Result<ControlCommand> command = parse_command(
      R"({"id":"7","command":"grant","agentId":"a1","instanceId":null,"reason":"r","expiresInMs":60000,"restarts":5})");
  ASSERT_TRUE(command.ok());
  EXPECT_EQ(command.value().id, "7");
  EXPECT_EQ(command.value().command, "grant");
  EXPECT_EQ(command.value().instance_id, "");
  EXPECT_EQ(command.value().restarts, 5U);
  for (const std::string_view text :
       {"", "[]", "null", "{", R"({"id":1})", R"({"command":"stop"})", R"({"id":{},"command":[]})"}) {
    EXPECT_FALSE(parse_command(text).ok()) << text;
  }
  EXPECT_EQ(parse_answer_commands(R"({"accepted":1,"commands":[{"id":"1","command":"stop"},3]})").size(), 1U);
  EXPECT_EQ(parse_answer_commands("<html>").size(), 0U);
}

TEST(Messages, ACommandIsRememberedForAWhile) {
  CommandMemory memory;
  EXPECT_TRUE(memory.remember({.id = "1", .command = "restart"}));
  EXPECT_FALSE(memory.remember({.id = "1", .command = "restart"}));
  EXPECT_TRUE(memory.remember({.id = "1", .command = "grant"}));
  for (std::size_t i = 0; i < CommandMemory::kCommandsMax; ++i) {
    EXPECT_TRUE(memory.remember({.id = std::to_string(i), .command = "stop"}));
  }
  EXPECT_TRUE(memory.remember({.id = "1", .command = "restart"}));
}

TEST(Messages, TheDefaultAgentIdIsAlwaysWithinTheGrammar) {
  EXPECT_EQ(default_agent_id("/usr/bin/python3", "box.local"), "python3-box.local");
  EXPECT_EQ(default_agent_id("./-my tool!", "box"), "my-tool--box");
  for (const std::string& command :
       {std::string("..."), std::string("\xc3\xa9"), std::string(500, 'x'), std::string("a/")}) {
    EXPECT_TRUE(is_valid_agent_id(default_agent_id(command, ""))) << command;
  }
}

}  // namespace
}  // namespace defib::run
