#include "run/process_tree.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <string>
#include <unistd.h>

#include "run/unique_fd.h"

namespace defib::run {
namespace {

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};
using Dir = std::unique_ptr<DIR, CloseDir>;

// The text of a small /proc file, cut at the buffer's end; empty where it can't be read.
template <std::size_t N>
std::string_view read_small(const char* path, std::array<char, N>& buffer) {
  const UniqueFd fd(open(path, O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) return {};
  std::size_t used = 0;
  while (used < N) {
    const ssize_t got = read(fd.get(), buffer.data() + used, N - used);
    if (got <= 0) break;
    used += static_cast<std::size_t>(got);
  }
  return {buffer.data(), used};
}

template <typename T>
bool parse_number(std::string_view text, T& out) {
  return std::from_chars(text.data(), text.data() + text.size(), out).ec == std::errc();
}

// Calls `take` for each number among the names in a /proc folder.
template <typename Take>
void each_number_in(const char* path, Take take) {
  const Dir dir(opendir(path));
  if (!dir) return;
  while (const dirent* entry = readdir(dir.get())) {
    pid_t number = 0;
    const std::string_view entry_name = entry->d_name;
    if (!entry_name.empty() && entry_name[0] >= '1' && entry_name[0] <= '9' && parse_number(entry_name, number)) {
      take(number);
    }
  }
}

// Appends the children of one thread. False where the kernel has no such file.
bool append_children(pid_t pid, pid_t thread, std::vector<pid_t>& out) {
  std::array<char, 64> path{};
  fmt::format_to_n(path.data(), path.size() - 1, "/proc/{}/task/{}/children", pid, thread);
  if (access(path.data(), R_OK) != 0) return false;
  std::array<char, 16 * 1024> buffer;
  std::string_view text = read_small(path.data(), buffer);
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    pid_t child = 0;
    if (parse_number(text.substr(0, end), child) && out.size() < kTreeProcessesMax) out.push_back(child);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return true;
}

void append_children(const ProcessFacts& process, std::vector<pid_t>& out) {
  if (process.threads <= 1) {
    append_children(process.pid, process.pid, out);
    return;
  }
  std::array<char, 64> path{};
  fmt::format_to_n(path.data(), path.size() - 1, "/proc/{}/task", process.pid);
  each_number_in(path.data(), [&](pid_t thread) { append_children(process.pid, thread, out); });
}

bool is_living(const ProcessFacts& process, const std::vector<ProcessFacts>& tree) {
  if (process.state == 'T' || process.state == 'X' || (process.state == 'Z' && process.threads <= 1)) return false;
  if (process.state != 'D') return true;
  // Stopped between vfork(2) and exec, a child holds its parent in this state, whatever signals that one has got.
  return std::none_of(tree.begin(), tree.end(),
                      [&](const ProcessFacts& other) { return other.parent == process.pid && other.state == 'T'; });
}

}  // namespace

std::optional<ProcessFacts> parse_stat(std::string_view stat) {
  // pid (comm) state ppid pgrp ...: the name ends at the last ')'.
  const std::size_t name_end = stat.rfind(')');
  ProcessFacts facts;
  if (name_end == std::string_view::npos || !parse_number(stat, facts.pid)) return std::nullopt;
  std::string_view rest = stat.substr(name_end + 1);
  // fields[0] is the third field of proc(5), fields[21] the 24th.
  std::array<std::string_view, 22> fields;
  for (std::string_view& field : fields) {
    const std::size_t begin = rest.find_first_not_of(' ');
    if (begin == std::string_view::npos) return std::nullopt;
    rest.remove_prefix(begin);
    const std::size_t end = std::min(rest.find(' '), rest.size());
    field = rest.substr(0, end);
    rest.remove_prefix(end);
  }
  std::uint64_t user = 0;
  std::uint64_t system = 0;
  // What children used is signed in the kernel's format.
  std::int64_t waited_user = 0;
  std::int64_t waited_system = 0;
  std::int64_t pages = 0;
  if (!parse_number(fields[1], facts.parent) || !parse_number(fields[2], facts.group) ||
      !parse_number(fields[11], user) || !parse_number(fields[12], system) || !parse_number(fields[13], waited_user) ||
      !parse_number(fields[14], waited_system) || !parse_number(fields[17], facts.threads) ||
      !parse_number(fields[21], pages)) {
    return std::nullopt;
  }
  facts.state = fields[0].front();
  facts.own_ticks = user + system;
  facts.waited_ticks = static_cast<std::uint64_t>(std::max<std::int64_t>(0, waited_user + waited_system));
  facts.resident_pages = static_cast<std::uint64_t>(std::max<std::int64_t>(0, pages));
  return facts;
}

std::optional<ProcessFacts> read_process(pid_t pid) {
  std::array<char, 32> path{};
  fmt::format_to_n(path.data(), path.size() - 1, "/proc/{}/stat", pid);
  std::array<char, 1024> buffer;
  return parse_stat(read_small(path.data(), buffer));
}

std::vector<ProcessFacts> descendants(pid_t root) {
  std::vector<pid_t> pending;
  if (!append_children(root, root, pending)) return scan_descendants(root);
  std::vector<ProcessFacts> found;
  for (std::size_t i = 0; i < pending.size() && i < kTreeProcessesMax; ++i) {
    const std::optional<ProcessFacts> process = read_process(pending[i]);
    if (!process) continue;
    found.push_back(*process);
    append_children(*process, pending);
  }
  return found;
}

std::vector<ProcessFacts> scan_descendants(pid_t root) {
  std::vector<ProcessFacts> all;
  each_number_in("/proc", [&](pid_t pid) {
    if (const std::optional<ProcessFacts> process = read_process(pid)) all.push_back(*process);
  });
  // Breadth first, from the root down; each pass over `all` is for one parent.
  std::vector<ProcessFacts> found;
  pid_t parent = root;
  for (std::size_t next = 0;; ++next) {
    for (const ProcessFacts& process : all) {
      if (process.parent == parent && process.pid != root && found.size() < kTreeProcessesMax) found.push_back(process);
    }
    if (next >= found.size()) return found;
    parent = found[next].pid;
  }
}

void TreeMeter::restart(Instant now, pid_t root) {
  root_ = root;
  last_ = now;
  const std::optional<ProcessFacts> process = read_process(root);
  last_ticks_ = process ? process->waited_ticks : 0;
}

TreeUsage TreeMeter::sample(Instant now) {
  TreeUsage usage;
  std::uint64_t pages = 0;
  // What ended processes used has gone to whoever waited for them: to their parents, in the end to the root.
  const std::optional<ProcessFacts> root = read_process(root_);
  std::uint64_t ticks = root ? root->waited_ticks : 0;
  const std::vector<ProcessFacts> tree = descendants(root_);
  for (const ProcessFacts& process : tree) {
    ticks += process.own_ticks + process.waited_ticks;
    pages += process.resident_pages;
    usage.is_living = usage.is_living || is_living(process, tree);
  }
  usage.processes = tree.size();
  static const double ticks_per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  static const double page_bytes = static_cast<double>(sysconf(_SC_PAGESIZE));
  const double seconds = std::chrono::duration<double>(now - last_).count();
  if (seconds > 0 && ticks > last_ticks_) {
    usage.cpu_percent = static_cast<double>(ticks - last_ticks_) / ticks_per_second / seconds * 100;
  }
  usage.memory_mb = static_cast<double>(pages) * page_bytes / (1024 * 1024);
  last_ = now;
  last_ticks_ = ticks;
  return usage;
}

}  // namespace defib::run
