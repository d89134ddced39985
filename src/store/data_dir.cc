#include "store/data_dir.h"

#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace defib::store {

namespace {

Done make_directory(const std::filesystem::path& path) {
  std::error_code error;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), error);
  if (::mkdir(path.c_str(), 0700) == 0 || (errno == EEXIST && std::filesystem::is_directory(path, error))) {
    return Unit{};
  }
  if (errno == EEXIST) return Error{fmt::format("{} is not a directory: choose another data_dir", path.string())};
  return Error{
      fmt::format("cannot make the data directory {}: {}; make it writable for this user, or choose another data_dir",
                  path.string(), std::generic_category().message(errno))};
}

// The process id that the holder wrote, "" where it could not.
std::string holder(int fd) {
  char text[32];
  const ssize_t size = ::pread(fd, text, sizeof text, 0);
  int pid = 0;
  if (size <= 0 || std::from_chars(text, text + size, pid).ec != std::errc{}) return {};
  return fmt::format(" (process {})", pid);
}

void write_holder(int fd) {
  const std::string text = fmt::format("{}\n", ::getpid());
  // Only a courtesy to whoever finds the lock taken: a full disk must not keep us from starting.
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, text.data(), text.size(), 0) < 0) return;
}

}  // namespace

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

DirectoryLock& DirectoryLock::operator=(DirectoryLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

DirectoryLock::~DirectoryLock() {
  if (fd_ >= 0) ::close(fd_);
}

Result<DirectoryLock> DirectoryLock::acquire(const std::string& data_dir) {
  // "dir/" and "dir" are one; the root itself has no file name and is left as it is.
  std::filesystem::path directory = data_dir;
  if (!directory.has_filename() && directory.has_relative_path()) directory = directory.parent_path();
  if (const Done made = make_directory(directory); !made.ok()) return Error{made.error()};
  const std::string path = (directory / "journal.lock").string();
  DirectoryLock lock;
  lock.fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock.fd_ < 0) {
    return Error{fmt::format("cannot open {}: {}; make {} writable for this user, or choose another data_dir", path,
                             std::generic_category().message(errno), directory.string())};
  }
  if (::flock(lock.fd_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK)
      return Error{fmt::format("cannot lock {}: {}", path, std::generic_category().message(errno))};
    return Error{fmt::format("another defib monitor{} uses {}: stop it first, or give this one a data_dir of its own",
                             holder(lock.fd_), directory.string())};
  }
  write_holder(lock.fd_);
  return lock;
}

}  // namespace defib::store
