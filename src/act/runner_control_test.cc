#include "act/runner_control.h"

#include <gtest/gtest.h>
#include <optional>
#include <vector>

namespace defib::act {
namespace {

// What perform() ends with, once the loop has turned.
ActionResult perform(int listeners, std::vector<core::SendCommand>& published) {
  net::Loop loop;
  RunnerActor actor(loop, [&](const core::SendCommand& command) {
    published.push_back(command);
    return listeners;
  });
  std::optional<ActionResult> result;
  actor.perform({.incident = 12, .attempt = 3, .agent_id = "a1", .instance_id = "i7", .reason = "silent for 93 s"},
                [&](ActionResult r) { result = std::move(r); });
  EXPECT_FALSE(result.has_value()) << "done must come in a later turn";
  loop.run([&] {
    if (result) loop.stop();
    return kNever;
  });
  return result.value_or(ActionResult{});
}

TEST(RunnerActor, AsksTheRunnerOfThatInstanceToRestartIt) {
  std::vector<core::SendCommand> published;
  EXPECT_EQ(perform(1, published).end, core::ActionEnd::done);
  ASSERT_EQ(published.size(), 1U);
  EXPECT_EQ(published[0].command, "restart");
  EXPECT_EQ(published[0].agent_id, "a1");
  EXPECT_EQ(published[0].instance_id, "i7");
  EXPECT_EQ(published[0].id, 12'003U);
}

TEST(RunnerActor, FailsWhereNobodyListens) {
  std::vector<core::SendCommand> published;
  const ActionResult result = perform(0, published);
  EXPECT_EQ(result.end, core::ActionEnd::failed);
  EXPECT_NE(result.detail.find("no runner listens for a1"), std::string::npos);
}

}  // namespace
}  // namespace defib::act
