#include "act/runner_control.h"

#include <fmt/format.h>
#include <utility>

namespace defib::act {
namespace {

// A runner that hears it later than this would act on old news.
constexpr Duration kExpiresIn = 30s;

// One attempt, one id: a runner that hears it twice obeys once. Attempts of an incident stay below a thousand.
std::uint64_t command_id(const core::PerformAction& action) { return action.incident * 1000 + action.attempt; }

}  // namespace

RunnerActor::RunnerActor(net::Loop& loop, Publish publish) : loop_(loop), publish_(std::move(publish)) {}

void RunnerActor::perform(const core::PerformAction& action, std::function<void(ActionResult)> done) {
  const int heard = publish_({.id = command_id(action),
                              .command = "restart",
                              .agent_id = action.agent_id,
                              .instance_id = action.instance_id,
                              .reason = action.reason,
                              .expires_in = kExpiresIn});
  ActionResult result =
      heard > 0
          ? ActionResult{core::ActionEnd::done, fmt::format("asked the runner of {} to restart it", action.agent_id)}
          : ActionResult{core::ActionEnd::failed,
                         fmt::format("no runner listens for {}: is its `defib run` alive?", action.agent_id)};
  loop_.post([done = std::move(done), result = std::move(result)]() mutable { done(std::move(result)); });
}

}  // namespace defib::act
