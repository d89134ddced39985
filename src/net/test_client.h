// For the tests of this room: a loop on a thread of its own, and a plain blocking socket as the other side.
#pragma once

#include <arpa/inet.h>
#include <cstdint>
#include <functional>
#include <future>
#include <gtest/gtest.h>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include "net/loop.h"

namespace defib::net {

class LoopThread {
 public:
  LoopThread() : thread_([this] { loop_.run([] { return kNever; }); }) {}
  ~LoopThread() {
    loop_.post([this] { loop_.stop(); });
    thread_.join();
  }
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  Loop& loop() { return loop_; }
  // Runs `task` on the loop thread and waits for its result.
  template <typename Task>
  auto call(Task task) {
    // Owned by the loop too: the result is there a moment before the task is over.
    const auto packaged = std::make_shared<std::packaged_task<decltype(task())()>>(std::move(task));
    auto result = packaged->get_future();
    loop_.post([packaged] { (*packaged)(); });
    return result.get();
  }

 private:
  Loop loop_;
  std::thread thread_;
};

// Every wait ends after ten seconds: a test then fails instead of hanging.
class TestClient {
 public:
  explicit TestClient(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval limit{.tv_sec = 10, .tv_usec = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    is_connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  ~TestClient() { close(); }
  TestClient(TestClient&& other) noexcept : fd_(std::exchange(other.fd_, -1)), is_connected_(other.is_connected_) {}
  TestClient& operator=(TestClient&&) = delete;

  bool is_connected() const { return is_connected_; }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  void shut_down_sending() { ::shutdown(fd_, SHUT_WR); }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t size = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (size <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(size));
    }
    return true;
  }

  // What arrives until `is_enough` or the end of the connection; bytes past that stay for the next call.
  std::string read_until(const std::function<std::size_t(std::string_view)>& enough) {
    while (true) {
      if (const std::size_t size = enough(held_)) return take(size);
      char bytes[16 * 1024];
      const ssize_t size = ::recv(fd_, bytes, sizeof bytes, 0);
      if (size < 0) is_broken_ = true;
      if (size <= 0) return take(held_.size());
      held_.append(bytes, static_cast<std::size_t>(size));
    }
  }
  std::string read_all() {
    return read_until([](std::string_view) { return std::size_t{0}; });
  }
  std::string read_until_text(std::string_view text) {
    return read_until([text](std::string_view held) {
      const std::size_t at = held.find(text);
      return at == std::string_view::npos ? std::size_t{0} : at + text.size();
    });
  }
  // One answer with its body by Content-Length.
  std::string read_answer() {
    std::string head = read_until_text("\r\n\r\n");
    const std::size_t at = head.find("Content-Length: ");
    const std::size_t size = at == std::string::npos ? 0 : std::stoul(head.substr(at + 16));
    if (size == 0) return head;
    return head + read_until([size](std::string_view held) { return held.size() >= size ? size : std::size_t{0}; });
  }
  // True where the other side reset the connection, or said nothing for ten seconds.
  bool is_broken() const { return is_broken_; }

 private:
  std::string take(std::size_t size) {
    std::string taken = held_.substr(0, size);
    held_.erase(0, size);
    return taken;
  }

  int fd_;
  bool is_connected_ = false;
  bool is_broken_ = false;
  std::string held_;
};

}  // namespace defib::net
