// Recovery by the agent's own runner: `with: runner`. A command on defib:control:{agentId} asks the `defib run` there
// to end its program (the whole group: TERM, then KILL) and to start it anew.
//
// Done means that somebody heard the command, which proves nothing yet: the core waits for a beat of the new instance.
// A runner proves the old group gone before it starts the new one, so `replace` needs no proof of ours.
#pragma once

#include <functional>
#include <string>

#include "act/actor.h"
#include "net/loop.h"

namespace defib::act {

class RunnerActor final : public Actor {
 public:
  // How many hear a command that is published on its agent's control channel.
  using Publish = std::function<int(const core::SendCommand&)>;

  RunnerActor(net::Loop& loop, Publish publish);

  void perform(const core::PerformAction& action, std::function<void(ActionResult)> done) override;

 private:
  net::Loop& loop_;
  const Publish publish_;
};

}  // namespace defib::act
