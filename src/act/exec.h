// Recovery by a program of the operator's: `with: exec`.
//
// The command is an argument list and never meets a shell. In each argument after the program's name,
// {agentId} {agentType} {host} {instanceId} {newInstanceId} {incident} {attempt} {task} are replaced by what they
// stand for; values are never split and never looked at again. The program itself can't be chosen by an agent.
// The successor's environment: AGENT_ID, REDIS_URL, DEFIB_AGENT_ID, DEFIB_INSTANCE, DEFIB_TASK,
// DEFIB_TASK_PROGRESS, DEFIB_CAPSULE (base64), DEFIB_INCIDENT, DEFIB_ATTEMPT, DEFIB_REASON; "" where unknown.
// Exit 0 means done, which proves nothing yet: the core waits for a beat.
#pragma once

#include <functional>
#include <string>

#include "act/actor.h"
#include "net/loop.h"
#include "net/process.h"

namespace defib::act {

class ExecActor final : public Actor {
 public:
  // `redis_url` is where agents connect; it may hold a password, so it is only ever put into the environment.
  ExecActor(net::Loop& loop, net::ProcessRunner& runner, std::string redis_url);

  // A restart of an agent that lives on this host first notes what /proc says of it. A replacement starts only
  // where the old instance is proven stopped (told so, or no such process on this host) or step.allow_two.
  void perform(const core::PerformAction& action, std::function<void(ActionResult)> done) override;

 private:
  net::Loop& loop_;
  net::ProcessRunner& runner_;
  const std::string redis_url_;
  const std::string host_name_;
};

}  // namespace defib::act
