// A server under measure as a child process: the monitor, or redis-server, on free ports of loopback.
//
// Ends with the object. Its output goes to /dev/null: what a log costs is the terminal's affair.
#pragma once

#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace defib::bench {

class Server {
 public:
  // `defib monitor`: verdicts only, keeps nothing.
  static Server monitor(const std::string& program);
  // redis-server: no snapshot, no log file, and no bound on what a subscriber may lag behind.
  static Server redis(const std::string& program);
  Server(Server&& other) noexcept;
  Server& operator=(Server&&) = delete;
  ~Server();

  std::uint16_t port() const { return port_; }            // Of the Redis protocol.
  std::uint16_t http_port() const { return http_port_; }  // 0: none.
  // ns of all its threads since its start.
  double cpu_ns() const;
  std::size_t rss_bytes() const;
  // Waits until it has done what it put off (a journal's writing), 60 s at most.
  void settle() const;

 private:
  Server() = default;
  void start(const std::vector<std::string>& command);

  pid_t pid_ = -1;
  std::uint16_t port_ = 0;
  std::uint16_t http_port_ = 0;
  std::string config_file_;  // Removed at the end; empty: none.
};

// A blocking connection to a port of loopback; -1: nobody listens.
int connect_to(std::uint16_t port);

}  // namespace defib::bench
