#include "server.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string_view>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include "harness.h"

namespace defib::bench {
namespace {

constexpr double kStartMaxNs = 30e9;
constexpr double kSettleMaxNs = 60e9;

void pause_ms(int ms) {
  const timespec length{.tv_sec = 0, .tv_nsec = ms * 1'000'000};
  nanosleep(&length, nullptr);
}

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

// Free now; that it stays so until the server binds it is likely, not sure.
std::uint16_t free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  const bool is_bound = fd >= 0 && bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                        getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  close(fd);
  if (!is_bound) give_up("no free port");
  return ntohs(address.sin_port);
}

std::string write_config() {
  std::string path = "/tmp/defib_bench_XXXXXX";
  const int fd = mkstemp(path.data());
  constexpr std::string_view kText = "policies:\n  - recovery: []\n";
  const bool is_written = fd >= 0 && write(fd, kText.data(), kText.size()) == static_cast<ssize_t>(kText.size());
  close(fd);
  if (!is_written) give_up("no temporary file in /tmp");
  return path;
}

}  // namespace

int connect_to(std::uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = loopback(port);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    close(fd);
    return -1;
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

Server Server::monitor(const std::string& program) {
  Server server;
  server.port_ = free_port();
  server.http_port_ = free_port();
  server.config_file_ = write_config();
  server.start({program, "monitor", "--config", server.config_file_, "--data-dir", "memory", "--agents",
                fmt::format("127.0.0.1:{}", server.port_), "--http", fmt::format("127.0.0.1:{}", server.http_port_)});
  return server;
}

Server Server::redis(const std::string& program) {
  Server server;
  server.port_ = free_port();
  server.start({program, "--port", std::to_string(server.port_), "--bind", "127.0.0.1", "--save", "", "--appendonly",
                "no", "--client-output-buffer-limit", "pubsub 0 0 0"});
  return server;
}

Server::Server(Server&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      port_(other.port_),
      http_port_(other.http_port_),
      config_file_(std::exchange(other.config_file_, {})) {}

Server::~Server() {
  if (pid_ > 0) {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }
  if (!config_file_.empty()) unlink(config_file_.c_str());
}

void Server::start(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_ = fork();
  if (pid_ < 0) give_up("no child");
  if (pid_ == 0) {
    const int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  for (const double end = wall_ns() + kStartMaxNs; wall_ns() < end;) {
    if (waitpid(pid_, nullptr, WNOHANG) != 0) break;
    if (const int fd = connect_to(port_); fd >= 0) {
      close(fd);
      return;
    }
    pause_ms(10);
  }
  give_up(fmt::format("{} did not come up", command[0]));
}

double Server::cpu_ns() const {
  clockid_t clock{};
  timespec t{};
  if (clock_getcpuclockid(pid_, &clock) != 0 || clock_gettime(clock, &t) != 0) give_up("a server has died");
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

void Server::settle() const {
  for (const double end = wall_ns() + kSettleMaxNs; wall_ns() < end;) {
    const double before = cpu_ns();
    pause_ms(200);
    if (cpu_ns() - before < 10e6) return;
  }
}

std::size_t Server::rss_bytes() const {
  std::ifstream file(fmt::format("/proc/{}/statm", pid_));
  std::size_t all_pages = 0;
  std::size_t resident_pages = 0;
  file >> all_pages >> resident_pages;
  return resident_pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace defib::bench
