// Who listens to which channel of the agents' endpoint.
//
// Borrows its listeners: each must leave() all it joined before it is destroyed. One owner thread.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace defib::ingest {

class Listener {
 public:
  virtual void on_message(std::string_view channel, std::string_view payload) = 0;

 protected:
  ~Listener() = default;
};

class Channels {
 public:
  // False where it listens already.
  bool join(std::string_view channel, Listener& listener);
  // False where it does not listen.
  bool leave(std::string_view channel, Listener& listener);
  // How many received it. A listener must not join or leave while it is told.
  int publish(std::string_view channel, std::string_view payload) const;
  bool has_listeners(std::string_view channel) const { return channels_.find(channel) != channels_.end(); }

 private:
  struct NameHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const { return std::hash<std::string_view>{}(name); }
  };
  // No channel is without listeners. Their number is bounded by connections times channels a connection.
  std::unordered_map<std::string, std::vector<Listener*>, NameHash, std::equal_to<>> channels_;
};

}  // namespace defib::ingest
