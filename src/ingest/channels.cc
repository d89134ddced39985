#include "ingest/channels.h"

#include <algorithm>

namespace defib::ingest {

bool Channels::join(std::string_view channel, Listener& listener) {
  auto found = channels_.find(channel);
  if (found == channels_.end()) found = channels_.try_emplace(std::string(channel)).first;
  std::vector<Listener*>& listeners = found->second;
  if (std::ranges::find(listeners, &listener) != listeners.end()) return false;
  listeners.push_back(&listener);
  return true;
}

bool Channels::leave(std::string_view channel, Listener& listener) {
  const auto found = channels_.find(channel);
  if (found == channels_.end() || std::erase(found->second, &listener) == 0) return false;
  if (found->second.empty()) channels_.erase(found);
  return true;
}

int Channels::publish(std::string_view channel, std::string_view payload) const {
  const auto found = channels_.find(channel);
  if (found == channels_.end()) return 0;
  for (Listener* const listener : found->second) listener->on_message(channel, payload);
  return static_cast<int>(found->second.size());
}

}  // namespace defib::ingest
