#include "net/proc.h"

#include <array>
#include <cerrno>
#include <fmt/format.h>
#include <fstream>
#include <limits>
#include <signal.h>
#include <string_view>
#include <unistd.h>

#include "base/text.h"

namespace defib::net {

namespace {

// Of "Name:\tvalue" in /proc/PID/status, without the white space around it; "" where absent.
std::string field(std::string_view status, std::string_view name) {
  const std::string key = fmt::format("\n{}:", name);
  const std::size_t at = status.find(key);
  if (at == std::string_view::npos) return "";
  std::string_view value = status.substr(at + key.size());
  value = value.substr(0, value.find('\n'));
  while (!value.empty() && (value.front() == '\t' || value.front() == ' ')) value.remove_prefix(1);
  return std::string(value);
}

// "" where it can't be read. A file in /proc is made while it is read, so it is read whole.
std::string read_proc(std::int64_t pid, std::string_view name) {
  std::ifstream file(fmt::format("/proc/{}/{}", pid, name));
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

std::string read_host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "";
  return name.data();
}

bool is_running(std::int64_t pid) {
  if (pid <= 0 || pid > std::numeric_limits<pid_t>::max()) return false;
  // Not by /proc alone: mounted with hidepid it shows nothing of other users' processes.
  if (::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) return false;
  const std::string state = field(read_proc(pid, "status"), "State");
  return !state.starts_with('Z') && !state.starts_with('X');
}

std::string describe_process(std::int64_t pid) {
  const std::string status = read_proc(pid, "status");
  if (status.empty()) return "";
  std::string line = fmt::format("pid {}: state {}, {} threads", pid, field(status, "State"), field(status, "Threads"));
  // "0" is what it says to those who may not know.
  const std::string place = read_proc(pid, "wchan");
  if (!place.empty() && place != "0") line += fmt::format(", waits in {}", clip(place, 64));
  const std::string resident = field(status, "VmRSS");
  if (!resident.empty()) line += fmt::format(", {} resident", resident);
  return line;
}

}  // namespace defib::net
