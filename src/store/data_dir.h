// The data directory: made for us alone, and locked against a second monitor.
#pragma once

#include <string>

#include "base/result.h"

namespace defib::store {

// Held until destroyed or until the process ends, however it ends (flock(2)). The file stays: removing
// it would let two monitors lock two files of one name.
class DirectoryLock {
 public:
  DirectoryLock() = default;
  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&& other) noexcept;
  ~DirectoryLock();

  // Makes the directory where it does not exist (mode 0700, its parents as the umask says) and locks it. The error
  // names the holder's process id.
  static Result<DirectoryLock> acquire(const std::string& data_dir);

 private:
  int fd_ = -1;
};

}  // namespace defib::store
