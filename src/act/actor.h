// The seam of the recovery adapters: one folder file each, made by app/daemon.cc.
#pragma once

#include <functional>
#include <string>

#include "core/effect.h"
#include "core/event.h"

namespace defib::act {

struct ActionResult {
  core::ActionEnd end = core::ActionEnd::done;
  std::string detail;  // In a sentence; goes to the journal and to people.
};

// Carries out attempts. perform() returns at once; `done` is called exactly once, later, on the loop
// thread, for any end. An adapter never retries: the core does.
class Actor {
 public:
  virtual ~Actor() = default;
  virtual void perform(const core::PerformAction& action, std::function<void(ActionResult)> done) = 0;
};

}  // namespace defib::act
