#include "net/stream_server.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <span>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>

#include "base/check.h"
#include "net/address.h"

namespace defib::net {
namespace {

// How long a closing connection may take to read what it was told last, and to close its side.
constexpr Duration kFarewell = 5s;
// How long a connection may leave unsent bytes untouched.
constexpr Duration kStuckMax = 60s;
constexpr int kBacklog = 1024;
constexpr int kAcceptsPerTurnMax = 64;
// As Redis does by default: dead peers behind a router are found in 10 minutes.
constexpr int kKeepAliveIdleSeconds = 300;
constexpr int kKeepAliveIntervalSeconds = 60;
constexpr int kKeepAliveProbes = 5;

void set_option(int fd, int level, int name, int value) { ::setsockopt(fd, level, name, &value, sizeof value); }

int make_epoll() {
  const int fd = ::epoll_create1(EPOLL_CLOEXEC);
  DEFIB_CHECK(fd >= 0);
  return fd;
}

bool is_would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

class Connection final : public StreamConnection {
 public:
  Connection(int epoll_fd, int fd, std::uint64_t id, StreamCounters& counters)
      : epoll_fd_(epoll_fd), fd_(fd), id_(id), counters_(counters) {
    epoll_event event{.events = interest_, .data = {.ptr = this}};
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd_, &event) != 0) close();
  }
  ~Connection() override { close(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  std::uint64_t id() const override { return id_; }
  bool is_open() const override { return fd_ >= 0; }
  void set_deadline(Instant deadline) override { deadline_ = deadline; }

  void send(std::string_view bytes) override {
    if (!is_open() || is_finishing_) return;
    if (unsent_.empty()) bytes.remove_prefix(write(bytes));
    if (!is_open() || bytes.empty()) return;
    unsent_.append(bytes);
    if (unsent_.size() - sent_ > kUnsentBytesMax) return close_slow();
    if (stuck_at_ == kNever) stuck_at_ = read_steady() + kStuckMax;
    set_interest();
  }

  void finish() override {
    if (!is_open() || is_finishing_) return;
    is_finishing_ = true;
    deadline_ = read_steady() + kFarewell;
    if (unsent_.empty()) say_goodbye();
    set_interest();
  }

  void close() {
    if (!is_open()) return;
    ::close(std::exchange(fd_, -1));  // Leaves the epoll set by itself: nobody else has this descriptor.
    if (peer != nullptr) peer->on_close();
  }

  void close_slow() override {
    if (!is_open()) return;
    ++counters_.closed_slow;
    close();
  }

  void on_writable() {
    if (!is_open() || unsent_.empty()) return;
    const std::size_t written = write(std::string_view(unsent_).substr(sent_));
    sent_ += written;
    if (written > 0) stuck_at_ = read_steady() + kStuckMax;
    if (sent_ == unsent_.size()) {
      std::string().swap(unsent_);
      sent_ = 0;
      stuck_at_ = kNever;
      if (is_finishing_) say_goodbye();
    } else if (sent_ > kUnsentBytesCalm) {
      unsent_.erase(0, sent_);
      sent_ = 0;
    }
    set_interest();
  }

  // Into a buffer that all connections share; what a finishing connection still sends is thrown away.
  void on_readable(std::span<char> buffer) {
    if (!is_open() || unsent_.size() - sent_ > kUnsentBytesCalm) return;
    if (!is_finishing_ && !peer->wants_bytes()) return;
    const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), 0);
    if (got > 0) {
      if (!is_finishing_) peer->on_bytes({buffer.data(), static_cast<std::size_t>(got)});
    } else if (got == 0 && !is_finishing_ && !unsent_.empty()) {
      is_ended_ = true;  // It reads on, though it has nothing more to say.
      finish();
    } else if (got == 0 || (!is_would_block(errno) && errno != EINTR)) {
      close();
    }
  }

  void close_overdue(Instant now) {
    if (!is_open()) return;
    if (stuck_at_ <= now) return close_slow();
    if (deadline_ > now) return;
    if (!is_finishing_) ++counters_.overdue;
    close();
  }

  std::unique_ptr<StreamPeer> peer;

 private:
  std::size_t write(std::string_view bytes) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (!is_would_block(errno) && errno != EINTR) close();
    return 0;
  }

  // Closing at once while the other side is still sending would make the kernel throw away our last words
  // (RFC 2525, 2.17), so it is told the end and read out.
  void say_goodbye() {
    if (is_ended_) return close();
    if (is_open()) ::shutdown(fd_, SHUT_WR);
  }

  void set_interest() {
    if (!is_open()) return;
    const std::size_t unsent = unsent_.size() - sent_;
    std::uint32_t wanted = unsent > 0 ? EPOLLOUT : 0U;
    if (unsent <= kUnsentBytesCalm && !is_ended_) wanted |= EPOLLIN;
    if (wanted == interest_) return;
    interest_ = wanted;
    epoll_event event{.events = interest_, .data = {.ptr = this}};
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd_, &event) != 0) close();
  }

  const int epoll_fd_;
  int fd_;  // -1 once closed.
  const std::uint64_t id_;
  StreamCounters& counters_;
  std::uint32_t interest_ = EPOLLIN;
  bool is_finishing_ = false;
  bool is_ended_ = false;  // The other side has closed its direction.
  std::string unsent_;
  std::size_t sent_ = 0;  // Of unsent_.
  Instant deadline_ = kNever;
  Instant stuck_at_ = kNever;
};

}  // namespace

class StreamServer::Impl : public std::enable_shared_from_this<StreamServer::Impl> {
 public:
  Impl(Loop& loop, Options options) : loop_(loop), options_(std::move(options)), epoll_(loop.context(), make_epoll()) {}

  Result<std::uint16_t> listen(std::string_view address) {
    DEFIB_CHECK(listener_ < 0);
    const auto endpoint = parse_address(address);
    if (!endpoint) return Error{endpoint.error()};
    const auto failed = [&](std::string_view what) {
      const int error = errno;
      close_listener();
      const std::string_view hint = error == EADDRINUSE ? "; something else listens there: choose another port" : "";
      return Error{fmt::format("cannot {} {}: {}{}", what, address, std::strerror(error), hint)};
    };
    const auto& where = endpoint.value();
    listener_ = ::socket(where.protocol().family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener_ < 0) return failed("open a socket for");
    set_option(listener_, SOL_SOCKET, SO_REUSEADDR, 1);
    if (::bind(listener_, where.data(), static_cast<socklen_t>(where.size())) != 0) return failed("listen on");
    if (::listen(listener_, kBacklog) != 0) return failed("listen on");
    boost::asio::ip::tcp::endpoint bound;
    auto size = static_cast<socklen_t>(bound.capacity());
    if (::getsockname(listener_, bound.data(), &size) != 0) return failed("listen on");
    if (!watch_listener()) return failed("watch");
    arm(false);
    return bound.port();
  }

  void close() {
    close_listener();
    for (auto& connection : connections_) connection->close();
  }

  void end_turn(Instant now, bool at_once) {
    if (now >= next_check_) {
      for (auto& connection : connections_) connection->close_overdue(now);
      if (is_out_of_descriptors_ && listener_ >= 0) is_out_of_descriptors_ = !watch_listener();
      next_check_ = now + kOverdueCheck;
    }
    std::erase_if(connections_, [](const auto& connection) { return !connection->is_open(); });
    counters_.open = connections_.size();
    if (!is_armed_ && !is_ended_) arm(at_once);
  }

  void end() {
    is_ended_ = true;
    close();
    connections_.clear();
    boost::system::error_code ignored;
    epoll_.close(ignored);
  }

  Instant next_wakeup() const { return connections_.empty() && !is_out_of_descriptors_ ? kNever : next_check_; }
  const StreamCounters& counters() const { return counters_; }

 private:
  bool watch_listener() {
    epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
    return ::epoll_ctl(epoll_.native_handle(), EPOLL_CTL_ADD, listener_, &event) == 0;
  }

  void close_listener() {
    if (listener_ >= 0) ::close(std::exchange(listener_, -1));
  }

  void arm(bool at_once) {
    is_armed_ = true;
    if (at_once) {
      boost::asio::post(loop_.context(), [self = shared_from_this()] { self->run_batch(); });
    } else {
      epoll_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                        [self = shared_from_this()](const boost::system::error_code& error) {
                          if (!error) self->run_batch();
                        });
    }
  }

  void run_batch() {
    is_armed_ = false;
    if (is_ended_ || !options_.may_read()) return;
    const int ready = ::epoll_wait(epoll_.native_handle(), ready_.data(), kReadyPerTurnMax, 0);
    for (int i = 0; i < ready; ++i) {
      const epoll_event& event = ready_[static_cast<std::size_t>(i)];
      if (event.data.ptr == nullptr) {
        accept();
        continue;
      }
      auto& connection = *static_cast<Connection*>(event.data.ptr);
      if ((event.events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) connection.on_writable();
      if ((event.events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) connection.on_readable(buffer_);
    }
  }

  void accept() {
    for (int i = 0; i < kAcceptsPerTurnMax && listener_ >= 0; ++i) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) rest_from_accepting();
        if (errno != ECONNABORTED && errno != EINTR) return;
        continue;
      }
      if (connections_.size() >= options_.connections_max) {
        ++counters_.refused;
        (void)!::send(fd, options_.refusal.data(), options_.refusal.size(), MSG_NOSIGNAL);
        ::close(fd);
        continue;
      }
      set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
      set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
      set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdleSeconds);
      set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalSeconds);
      set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
      ++counters_.accepted;
      auto connection = std::make_unique<Connection>(epoll_.native_handle(), fd, ++last_id_, counters_);
      if (!connection->is_open()) continue;
      connection->peer = options_.connect(*connection);
      connections_.push_back(std::move(connection));
    }
  }

  // Nothing can be accepted now, and the listener would be told ready again and again.
  void rest_from_accepting() {
    spdlog::warn("connections of agents wait: {} (see ulimit -n)", std::strerror(errno));
    ::epoll_ctl(epoll_.native_handle(), EPOLL_CTL_DEL, listener_, nullptr);
    is_out_of_descriptors_ = true;
  }

  Loop& loop_;
  const Options options_;
  boost::asio::posix::stream_descriptor epoll_;
  int listener_ = -1;
  bool is_armed_ = false;
  bool is_ended_ = false;
  bool is_out_of_descriptors_ = false;
  std::uint64_t last_id_ = 0;
  Instant next_check_{};
  StreamCounters counters_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::array<epoll_event, kReadyPerTurnMax> ready_{};
  std::array<char, kReadBytesMax> buffer_{};
};

StreamServer::StreamServer(Loop& loop, Options options) : impl_(std::make_shared<Impl>(loop, std::move(options))) {}
StreamServer::~StreamServer() { impl_->end(); }
Result<std::uint16_t> StreamServer::listen(std::string_view address) { return impl_->listen(address); }
void StreamServer::close() { impl_->close(); }
void StreamServer::end_turn(Instant now, bool at_once) { impl_->end_turn(now, at_once); }
Instant StreamServer::next_wakeup() const { return impl_->next_wakeup(); }
const StreamCounters& StreamServer::counters() const { return impl_->counters(); }

}  // namespace defib::net
