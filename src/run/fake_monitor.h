// A scripted monitor for this room's tests: a RESP3 server on a thread of its own that keeps what it is told.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <boost/json.hpp>

#include "run/unique_fd.h"
#include "wire/resp.h"

namespace defib::run {

class FakeMonitor {
 public:
  FakeMonitor();
  ~FakeMonitor();
  FakeMonitor(const FakeMonitor&) = delete;
  FakeMonitor& operator=(const FakeMonitor&) = delete;

  std::string url() const;
  // Closes all connections and the port; the port is taken again by come_back().
  void vanish();
  void come_back();
  // From now on commands are read and never answered.
  void go_silent();
  // What PUBLISH is answered from now on, e.g. ":2" or "-FENCED gone".
  void answer_publish(std::string line);
  void expect_login(std::string user, std::string password);
  // Sends a command to the agent's control channel; waits for a subscriber.
  void send_command(const std::string& agent_id, const boost::json::object& command);

  // All messages so far that `wanted` holds of.
  std::vector<boost::json::object> messages(const std::function<bool(const boost::json::object&)>& wanted = {}) const;
  // Waits (10 s at most) until `count` messages are there that `wanted` holds of.
  bool wait_for(std::size_t count, const std::function<bool(const boost::json::object&)>& wanted = {});
  // The agent's hash and its time to live.
  std::map<std::string, std::string> hash(const std::string& key) const;
  std::int64_t expiry(const std::string& key) const;
  std::size_t logins() const;

 private:
  struct Connection;

  void listen();
  void serve();
  bool read_from(Connection& connection);
  void answer(Connection& connection, const wire::Command& command);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::uint16_t port_ = 0;
  UniqueFd listener_;
  UniqueFd wake_up_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<boost::json::object> messages_;
  std::map<std::string, std::map<std::string, std::string>> hashes_;
  std::map<std::string, std::int64_t> expiries_;
  std::string publish_answer_ = ":2";
  std::string login_;
  std::size_t logins_ = 0;
  bool is_silent_ = false;
  bool is_ending_ = false;
  std::thread thread_;
};

// Whether a message is a beat, and of which kind.
bool is_beat(const boost::json::object& message);
bool is_exit(const boost::json::object& message);
bool is_goodbye(const boost::json::object& message);

}  // namespace defib::run
