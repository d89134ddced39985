#include "run/fake_monitor.h"

#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/check.h"

namespace defib::run {

namespace json = boost::json;

struct FakeMonitor::Connection {
  UniqueFd socket;
  wire::CommandParser parser;
  std::string channel;  // Subscribed to.
  std::string out;
  bool is_logged_in = false;
};

FakeMonitor::FakeMonitor() {
  wake_up_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  listen();
  thread_ = std::thread([this] { serve(); });
}

FakeMonitor::~FakeMonitor() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  eventfd_write(wake_up_.get(), 1);
  thread_.join();
}

std::string FakeMonitor::url() const { return fmt::format("redis://127.0.0.1:{}", port_); }

void FakeMonitor::listen() {
  listener_.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port_);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  DEFIB_CHECK(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  DEFIB_CHECK(::listen(listener_.get(), 16) == 0);
  socklen_t bytes = sizeof address;
  getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &bytes);
  port_ = ntohs(address.sin_port);
}

void FakeMonitor::vanish() {
  const std::lock_guard lock(mutex_);
  // Until the thread's poll() returns, closing alone would leave them open.
  shutdown(listener_.get(), SHUT_RDWR);
  listener_.reset();
  for (const auto& connection : connections_) shutdown(connection->socket.get(), SHUT_RDWR);
  connections_.clear();
  eventfd_write(wake_up_.get(), 1);
}

void FakeMonitor::come_back() {
  const std::lock_guard lock(mutex_);
  is_silent_ = false;
  listen();
  eventfd_write(wake_up_.get(), 1);
}

void FakeMonitor::go_silent() {
  const std::lock_guard lock(mutex_);
  is_silent_ = true;
}

void FakeMonitor::answer_publish(std::string line) {
  const std::lock_guard lock(mutex_);
  publish_answer_ = std::move(line);
}

void FakeMonitor::expect_login(std::string user, std::string password) {
  const std::lock_guard lock(mutex_);
  login_ = user + " " + password;
}

void FakeMonitor::send_command(const std::string& agent_id, const json::object& command) {
  const std::string channel = "defib:control:" + agent_id;
  const std::string payload = json::serialize(command);
  std::unique_lock lock(mutex_);
  const auto subscriber = [&]() -> Connection* {
    for (const auto& connection : connections_) {
      if (connection->channel == channel) return connection.get();
    }
    return nullptr;
  };
  if (!changed_.wait_for(lock, std::chrono::seconds(10), [&] { return subscriber() != nullptr; })) return;
  subscriber()->out += fmt::format(">3\r\n$7\r\nmessage\r\n${}\r\n{}\r\n${}\r\n{}\r\n", channel.size(), channel,
                                   payload.size(), payload);
  eventfd_write(wake_up_.get(), 1);
}

std::vector<json::object> FakeMonitor::messages(const std::function<bool(const json::object&)>& wanted) const {
  const std::lock_guard lock(mutex_);
  std::vector<json::object> found;
  std::copy_if(messages_.begin(), messages_.end(), std::back_inserter(found),
               [&](const json::object& message) { return !wanted || wanted(message); });
  return found;
}

bool FakeMonitor::wait_for(std::size_t count, const std::function<bool(const json::object&)>& wanted) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(10), [&] {
    const auto found = std::count_if(messages_.begin(), messages_.end(),
                                     [&](const json::object& message) { return !wanted || wanted(message); });
    return static_cast<std::size_t>(found) >= count;
  });
}

std::map<std::string, std::string> FakeMonitor::hash(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = hashes_.find(key);
  return found == hashes_.end() ? std::map<std::string, std::string>() : found->second;
}

std::int64_t FakeMonitor::expiry(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = expiries_.find(key);
  return found == expiries_.end() ? 0 : found->second;
}

std::size_t FakeMonitor::logins() const {
  const std::lock_guard lock(mutex_);
  return logins_;
}

void FakeMonitor::serve() {
  for (;;) {
    std::vector<pollfd> fds = {{wake_up_.get(), POLLIN, 0}};
    {
      const std::lock_guard lock(mutex_);
      if (is_ending_) return;
      fds.push_back({listener_.get(), POLLIN, 0});
      for (const auto& connection : connections_) fds.push_back({connection->socket.get(), POLLIN, 0});
    }
    poll(fds.data(), fds.size(), -1);
    const std::lock_guard lock(mutex_);
    eventfd_t ignored = 0;
    eventfd_read(wake_up_.get(), &ignored);
    if (listener_.is_open() && fds[1].fd == listener_.get() && (fds[1].revents & POLLIN) != 0) {
      auto connection = std::make_unique<Connection>();
      connection->socket.reset(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (connection->socket.is_open()) connections_.push_back(std::move(connection));
    }
    std::erase_if(connections_, [&](const auto& connection) { return !read_from(*connection); });
    changed_.notify_all();
  }
}

bool FakeMonitor::read_from(Connection& connection) {
  std::string buffer(256 * 1024, '\0');
  const ssize_t got = recv(connection.socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got == 0 || (got < 0 && errno != EAGAIN)) return false;
  if (got > 0 && !is_silent_) {
    [[maybe_unused]] const Done fed = connection.parser.feed({buffer.data(), static_cast<std::size_t>(got)});
    while (const auto command = connection.parser.next()) answer(connection, *command);
    if (!connection.parser.fatal().empty()) return false;
  }
  const std::string out = std::exchange(connection.out, {});
  return out.empty() || send(connection.socket.get(), out.data(), out.size(), MSG_NOSIGNAL) > 0;
}

void FakeMonitor::answer(Connection& connection, const wire::Command& command) {
  const auto& arguments = command.arguments;
  const std::string_view name = arguments[0];
  if (name == "HELLO") {
    const std::string login = arguments.size() == 5 ? fmt::format("{} {}", arguments[3], arguments[4]) : std::string();
    ++logins_;
    connection.is_logged_in = login == login_;
    connection.out += connection.is_logged_in ? "%1\r\n$5\r\nproto\r\n:3\r\n" : "-WRONGPASS no\r\n";
  } else if (!connection.is_logged_in) {
    connection.out += "-NOAUTH no\r\n";
  } else if (name == "PUBLISH") {
    boost::system::error_code error;
    const json::value message = json::parse({arguments[2].data(), arguments[2].size()}, error);
    if (!error && message.is_object()) messages_.push_back(message.as_object());
    connection.out += publish_answer_ + "\r\n";
  } else if (name == "HSET") {
    auto& fields = hashes_[std::string(arguments[1])];
    for (std::size_t i = 2; i + 1 < arguments.size(); i += 2) {
      fields[std::string(arguments[i])] = std::string(arguments[i + 1]);
    }
    connection.out += ":1\r\n";
  } else if (name == "EXPIRE") {
    expiries_[std::string(arguments[1])] = std::stoll(std::string(arguments[2]));
    connection.out += ":1\r\n";
  } else if (name == "SUBSCRIBE") {
    connection.channel = std::string(arguments[1]);
    connection.out += fmt::format(">3\r\n$9\r\nsubscribe\r\n${}\r\n{}\r\n:1\r\n", arguments[1].size(), arguments[1]);
  } else {
    connection.out += "+PONG\r\n";
  }
}

bool is_goodbye(const json::object& message) { return message.at("status").as_string() == "stopped"; }
bool is_exit(const json::object& message) { return message.contains("exit") && !is_goodbye(message); }
bool is_beat(const json::object& message) { return !message.contains("exit") && !is_goodbye(message); }

}  // namespace defib::run
