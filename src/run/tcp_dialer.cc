#include "run/tcp_dialer.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <vector>

namespace defib::run {
namespace {

struct Address {
  sockaddr_storage storage{};
  socklen_t bytes = 0;
  int family = 0;
};

// A port of the range that connections are made from may, with nobody listening on it, be given to our own end: the
// socket is then connected to itself (simultaneous open), and holds the port that the monitor wants.
bool is_connected_to_itself(int socket) {
  sockaddr_storage ours{};
  sockaddr_storage theirs{};
  socklen_t our_bytes = sizeof ours;
  socklen_t their_bytes = sizeof theirs;
  return getsockname(socket, reinterpret_cast<sockaddr*>(&ours), &our_bytes) == 0 &&
         getpeername(socket, reinterpret_cast<sockaddr*>(&theirs), &their_bytes) == 0 && our_bytes == their_bytes &&
         std::memcmp(&ours, &theirs, our_bytes) == 0;
}

// Fills `out`; an error text where the name has no address.
std::string look_up(const std::string& host, const std::string& port, int flags, std::vector<Address>& out) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (error != 0) return gai_strerror(error);
  for (const addrinfo* item = found; item != nullptr && out.size() < TcpDialer::kAddressesMax; item = item->ai_next) {
    Address address;
    std::memcpy(&address.storage, item->ai_addr, item->ai_addrlen);
    address.bytes = item->ai_addrlen;
    address.family = item->ai_family;
    out.push_back(address);
  }
  freeaddrinfo(found);
  return {};
}

}  // namespace

struct TcpDialer::LookUp {
  UniqueFd done{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  // Set by whoever looks up, last; the rest is read only after it.
  std::atomic<bool> is_done = false;
  std::vector<Address> addresses;
  std::string error;
};

TcpDialer::TcpDialer() = default;
TcpDialer::~TcpDialer() = default;

void TcpDialer::start(Instant now, const std::string& host, const std::string& port) {
  is_dialing_ = true;
  deadline_ = now + kTimeLimit;
  next_address_ = 0;
  socket_.reset();
  slot_ = kNoSlot;
  look_up_ = std::make_shared<LookUp>();
  // A numeric address needs no server, and so no thread.
  if (look_up(host, port, AI_NUMERICHOST, look_up_->addresses).empty()) {
    look_up_->is_done = true;
    return;
  }
  const auto work = [state = look_up_, host, port] {
    state->error = look_up(host, port, 0, state->addresses);
    state->is_done = true;
    eventfd_write(state->done.get(), 1);
  };
  try {
    std::thread(work).detach();
  } catch (const std::system_error& error) {
    look_up_->error = error.what();
    look_up_->is_done = true;
  }
}

void TcpDialer::add_to(PollSet& set) {
  slot_ = kNoSlot;
  if (!is_dialing_) return;
  slot_ = socket_.is_open() ? set.add(socket_.get(), POLLOUT) : set.add(look_up_->done.get(), POLLIN);
}

bool TcpDialer::step(Instant now, const PollSet& set) {
  if (!is_dialing_) return false;
  if (now >= deadline_) return fail(socket_.is_open() ? "no answer" : "its name could not be looked up in time");
  if (!socket_.is_open()) {
    if (!look_up_->is_done) return false;
    if (!look_up_->error.empty()) return fail(look_up_->error);
    return connect_next();
  }
  if (set.ready(slot_) == 0) return false;
  int error = 0;
  socklen_t bytes = sizeof error;
  getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &bytes);
  if (error == 0 && is_connected_to_itself(socket_.get())) error = ECONNREFUSED;
  if (error == 0) {
    is_dialing_ = false;
    failure_.clear();
    return true;
  }
  failure_ = std::strerror(error);
  return connect_next();
}

bool TcpDialer::connect_next() {
  socket_.reset();
  while (next_address_ < look_up_->addresses.size()) {
    const Address& address = look_up_->addresses[next_address_++];
    socket_.reset(socket(address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!socket_.is_open()) {
      failure_ = std::strerror(errno);
      continue;
    }
    const int on = 1;
    setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.bytes) == 0 ||
        errno == EINPROGRESS) {
      return false;
    }
    failure_ = std::strerror(errno);
    socket_.reset();
  }
  return fail(failure_.empty() ? "it has no address" : failure_);
}

bool TcpDialer::fail(std::string reason) {
  is_dialing_ = false;
  socket_.reset();
  failure_ = std::move(reason);
  return true;
}

Result<UniqueFd> TcpDialer::take() {
  if (!socket_.is_open()) return Error{failure_};
  return std::move(socket_);
}

}  // namespace defib::run
