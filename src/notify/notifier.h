// The seam of the channels: an adapter each, made by app/daemon.cc from the `alerts` of the file.
#pragma once

#include <functional>
#include <string>

#include "base/time.h"
#include "core/effect.h"
#include "core/event.h"
#include "core/view.h"

namespace defib::notify {

struct DeliveryResult {
  core::DeliveryEnd end = core::DeliveryEnd::done;
  std::string detail;  // Never holds the URL or another secret.
  Duration retry_after{0};
};

// What a message is made of. The incident and the agent as they are now, so a late message is not stale.
struct Message {
  core::NoticeRecord notice;
  core::Incident incident;
  std::optional<core::AgentView> agent;
  std::string link_base;  // "http://127.0.0.1:7070": links are made from it.
};

// Sends one message. send() returns at once; `done` is called exactly once, later, on the loop thread.
class Notifier {
 public:
  virtual ~Notifier() = default;
  virtual void send(const Message& message, std::function<void(DeliveryResult)> done) = 0;
};

}  // namespace defib::notify
