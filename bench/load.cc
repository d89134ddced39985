#include "load.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "server.h"

namespace defib::bench {
namespace {

constexpr std::string_view kAnswer = ":1\r\n";  // One receiver: the monitor itself, or Redis' subscriber.
// Agents with a connection of their own are none of the pipelined fleet: their sequence would be stale.
constexpr std::uint32_t kFirstConnected = 2'000'000;
constexpr std::size_t kWriteBytesMax = 256 * 1024;

std::string command_head() {
  return fmt::format("*3\r\n$7\r\nPUBLISH\r\n$10\r\nheartbeats\r\n${}\r\n", Fleet::message_bytes());
}

int connect_or_give_up(std::uint16_t port) {
  const int fd = connect_to(port);
  if (fd < 0) give_up("the server does not accept a connection");
  return fd;
}

void send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) give_up("the server closed a connection");
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

// Checks that `bytes` go on with answers of the one good kind; `at` is how far into one they are.
void check_answers(std::string_view bytes, std::size_t& at) {
  for (const char c : bytes) {
    if (c != kAnswer[at]) give_up(fmt::format("a beat was not accepted: {}", bytes.substr(0, 80)));
    at = at + 1 == kAnswer.size() ? 0 : at + 1;
  }
}

}  // namespace

// ---- Pipelined -------------------------------------------------------------------------------------

struct PipelinedClient::Lane {
  int connection = -1;
  std::string commands;
  std::uint64_t round = 0;
  std::uint64_t rounds_end = 0;
  std::size_t written = 0;  // Of `commands`, in this round.
  std::size_t answer_bytes_left = 0;
  std::size_t answer_at = 0;
};

PipelinedClient::PipelinedClient(std::uint16_t port, const Fleet& fleet, unsigned connections) {
  const std::string head = command_head();
  command_bytes_ = head.size() + Fleet::message_bytes() + 2;
  for (unsigned i = 0; i < connections; ++i) {
    auto lane = std::make_unique<Lane>();
    lane->connection = connect_or_give_up(port);
    fcntl(lane->connection, F_SETFL, O_NONBLOCK);
    for (std::uint32_t n = i; n < fleet.size(); n += connections) {
      lane->commands += head;
      Fleet::append_message(lane->commands, fleet.agent_at(n), 0);
      lane->commands += "\r\n";
    }
    lanes_.push_back(std::move(lane));
  }
}

PipelinedClient::~PipelinedClient() {
  for (const auto& lane : lanes_) close(lane->connection);
}

void PipelinedClient::publish_rounds(unsigned rounds) {
  for (const auto& lane : lanes_) {
    lane->rounds_end = lane->round + rounds;
    lane->answer_bytes_left = lane->commands.size() / command_bytes_ * kAnswer.size() * rounds;
  }
  std::vector<pollfd> waits(lanes_.size());
  while (true) {
    bool is_done = true;
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      const Lane& lane = *lanes_[i];
      const bool is_writing = lane.round < lane.rounds_end;
      const int events = (is_writing ? POLLOUT : 0) | POLLIN;
      waits[i] = {.fd = lane.answer_bytes_left > 0 ? lane.connection : -1, .events = static_cast<short>(events)};
      is_done = is_done && lane.answer_bytes_left == 0;
    }
    if (is_done) return;
    if (poll(waits.data(), waits.size(), 30'000) <= 0) give_up("the server stopped answering");
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      if ((waits[i].revents & (POLLIN | POLLERR | POLLHUP)) != 0) read_some(*lanes_[i]);
      if ((waits[i].revents & POLLOUT) != 0) write_some(*lanes_[i]);
    }
  }
}

void PipelinedClient::write_some(Lane& lane) {
  // The digits of a command are written just before it goes out, so that its bytes are warm.
  const std::size_t size = std::min(kWriteBytesMax / command_bytes_ * command_bytes_, lane.commands.size());
  const std::size_t block = lane.written / size * size;
  const std::size_t end = std::min(block + size, lane.commands.size());
  if (lane.written == block) {
    for (std::size_t at = block; at < end; at += command_bytes_) {
      Fleet::patch_round(lane.commands.data() + at + command_bytes_ - 2 - Fleet::message_bytes(), lane.round + 1);
    }
  }
  const ssize_t sent = send(lane.connection, lane.commands.data() + lane.written, end - lane.written, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) give_up("the server closed a connection");
  lane.written += static_cast<std::size_t>(std::max<ssize_t>(sent, 0));
  if (lane.written < lane.commands.size()) return;
  lane.written = 0;
  ++lane.round;
}

void PipelinedClient::read_some(Lane& lane) {
  std::array<char, 64 * 1024> buffer;
  const ssize_t got = recv(lane.connection, buffer.data(), buffer.size(), 0);
  if (got <= 0) give_up("the server closed a connection");
  const std::string_view bytes(buffer.data(), static_cast<std::size_t>(got));
  if (bytes.size() > lane.answer_bytes_left) give_up("the server answered more than was asked");
  check_answers(bytes, lane.answer_at);
  lane.answer_bytes_left -= bytes.size();
}

// ---- A connection an agent -------------------------------------------------------------------------

AgentsClient::AgentsClient(std::uint16_t port, std::uint32_t agents)
    : epoll_(epoll_create1(EPOLL_CLOEXEC)), rounds_(agents, 0) {
  for (std::uint32_t agent = 0; agent < agents; ++agent) {
    connections_.push_back(connect_or_give_up(port));
    epoll_event event{.events = EPOLLIN, .data = {.u32 = agent}};
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, connections_.back(), &event) != 0) give_up("epoll");
    commands_.push_back(command_head());
    Fleet::append_message(commands_.back(), kFirstConnected + agent, 0);
    commands_.back() += "\r\n";
  }
}

AgentsClient::~AgentsClient() {
  for (const int connection : connections_) close(connection);
  close(epoll_);
}

void AgentsClient::beat(unsigned rounds, std::size_t under_way) {
  const std::size_t beats = rounds * connections_.size();
  std::size_t sent = 0;
  while (sent < std::min(under_way, beats)) send_beat(sent++ % connections_.size());
  std::array<epoll_event, 256> ready;
  for (std::size_t answered = 0; answered < beats;) {
    const int count = epoll_wait(epoll_, ready.data(), static_cast<int>(ready.size()), 30'000);
    if (count <= 0) give_up("the server stopped answering");
    for (int i = 0; i < count; ++i) {
      take_answer(ready[static_cast<std::size_t>(i)].data.u32);
      ++answered;
      // Whoever has waited longest is next; with all under way that is the one just answered, or nearly so.
      if (sent < beats)
        send_beat(under_way == connections_.size() ? ready[static_cast<std::size_t>(i)].data.u32
                                                   : sent % connections_.size());
      if (sent < beats) ++sent;
    }
  }
}

void AgentsClient::send_beat(std::size_t agent) {
  std::string& command = commands_[agent];
  Fleet::patch_round(command.data() + command.size() - 2 - Fleet::message_bytes(), ++rounds_[agent]);
  send_all(connections_[agent], command);
}

void AgentsClient::take_answer(std::size_t agent) {
  std::array<char, 64> buffer;
  const ssize_t got = recv(connections_[agent], buffer.data(), buffer.size(), 0);
  std::size_t at = 0;
  check_answers({buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))}, at);
  if (got != static_cast<ssize_t>(kAnswer.size())) give_up("half an answer");
}

// ---- Who else there is -----------------------------------------------------------------------------

Subscriber::Subscriber(std::uint16_t port) : connection_(connect_or_give_up(port)) {
  send_all(connection_, "*2\r\n$9\r\nSUBSCRIBE\r\n$10\r\nheartbeats\r\n");
  std::array<char, 256> greeting;
  if (recv(connection_, greeting.data(), greeting.size(), 0) <= 0) give_up("no subscription");
  reader_ = std::thread([fd = connection_] {
    std::vector<char> buffer(256 * 1024);
    while (recv(fd, buffer.data(), buffer.size(), 0) > 0) {
    }
  });
}

Subscriber::~Subscriber() {
  shutdown(connection_, SHUT_RDWR);
  reader_.join();
  close(connection_);
}

Idler::Idler(std::uint16_t port) : connection_(connect_or_give_up(port)) {
  send_all(connection_, "*1\r\n$4\r\nPING\r\n");
  std::array<char, 64> pong;
  if (recv(connection_, pong.data(), pong.size(), 0) <= 0) give_up("no answer to PING");
}

Idler::~Idler() {
  if (connection_ >= 0) close(connection_);
}

HttpGetter::HttpGetter(std::uint16_t port) : connection_(connect_or_give_up(port)), port_(port) {}
HttpGetter::~HttpGetter() { close(connection_); }

std::size_t HttpGetter::get(const std::string& path) {
  send_all(connection_, fmt::format("GET {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", path, port_));
  answer_.clear();
  std::size_t whole = std::string::npos;
  std::size_t body = 0;
  std::array<char, 256 * 1024> buffer;
  while (answer_.size() < whole) {
    const ssize_t got = recv(connection_, buffer.data(), buffer.size(), 0);
    if (got <= 0) give_up("the server closed an HTTP connection");
    answer_.append(buffer.data(), static_cast<std::size_t>(got));
    const std::size_t head = answer_.find("\r\n\r\n");
    if (whole != std::string::npos || head == std::string::npos) continue;
    constexpr std::string_view kLength = "Content-Length: ";
    const std::size_t at = answer_.find(kLength);
    if (!answer_.starts_with("HTTP/1.1 200") || at > head) give_up(answer_.substr(0, 200));
    std::from_chars(answer_.data() + at + kLength.size(), answer_.data() + head, body);
    whole = head + 4 + body;
  }
  return body;
}

}  // namespace defib::bench
