// The client that both servers are measured with: publishes beats and reads all replies.
//
// Cheap beside a server: commands are made once, and only their digits change from round to round.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fleet.h"

namespace defib::bench {

// Publishes pipelined, as fast as the server takes it, over a few connections.
class PipelinedClient {
 public:
  // Each connection beats for its share of the fleet, always in the same order.
  PipelinedClient(std::uint16_t port, const Fleet& fleet, unsigned connections);
  ~PipelinedClient();
  PipelinedClient(const PipelinedClient&) = delete;
  PipelinedClient& operator=(const PipelinedClient&) = delete;

  // So many beats of each agent. Returns when all are answered; ends the program where one is not answered by ":1".
  void publish_rounds(unsigned rounds);

 private:
  struct Lane;
  void write_some(Lane& lane);
  void read_some(Lane& lane);

  std::size_t command_bytes_ = 0;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

// A connection an agent; each sends one beat and waits for its answer.
class AgentsClient {
 public:
  AgentsClient(std::uint16_t port, std::uint32_t agents);
  ~AgentsClient();
  AgentsClient(const AgentsClient&) = delete;
  AgentsClient& operator=(const AgentsClient&) = delete;

  // So many beats of each agent, with `under_way` agents waiting for their answer at any time.
  void beat(unsigned rounds, std::size_t under_way);

 private:
  void send_beat(std::size_t agent);
  void take_answer(std::size_t agent);

  int epoll_ = -1;
  std::vector<int> connections_;
  std::vector<std::string> commands_;
  std::vector<std::uint64_t> rounds_;
};

// Listens to the beats' channel on a thread of its own and throws away what it hears, as the guide's monitor would.
class Subscriber {
 public:
  explicit Subscriber(std::uint16_t port);
  ~Subscriber();
  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;

 private:
  int connection_ = -1;
  std::thread reader_;
};

// A connection that said one word and is silent since.
class Idler {
 public:
  explicit Idler(std::uint16_t port);
  Idler(Idler&& other) noexcept : connection_(std::exchange(other.connection_, -1)) {}
  Idler& operator=(Idler&&) = delete;
  ~Idler();

 private:
  int connection_ = -1;
};

// One keep-alive connection to an HTTP server. Returns the body's bytes; ends the program on anything but 200.
class HttpGetter {
 public:
  explicit HttpGetter(std::uint16_t port);
  ~HttpGetter();
  HttpGetter(const HttpGetter&) = delete;
  HttpGetter& operator=(const HttpGetter&) = delete;

  std::size_t get(const std::string& path);

 private:
  int connection_ = -1;
  std::uint16_t port_ = 0;
  std::string answer_;
};

}  // namespace defib::bench
