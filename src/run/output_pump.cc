#include "run/output_pump.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace defib::run {
namespace {

// What one read takes; also the size of a pipe.
constexpr std::size_t kReadBytes = 64 * 1024;
// Reads of one drain(): the largest pipe (1 MiB, F_SETPIPE_SZ) twice over.
constexpr int kDrainReadsMax = 32;

bool is_same_file(int a, int b) {
  struct stat first {};
  struct stat second {};
  return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

bool has_room_now(int fd) {
  pollfd entry{fd, POLLOUT, 0};
  return poll(&entry, 1, 0) == 1 && entry.revents != 0;
}

}  // namespace

// ---- OutputSink ------------------------------------------------------------------------------------------

void OutputSink::open(int fd) {
  fd_ = fd;
  struct stat facts {};
  if (fstat(fd, &facts) != 0) return;
  is_socket_ = S_ISSOCK(facts.st_mode);
  waits_for_room_ = isatty(fd) != 0;  // A person may have stopped it with Ctrl-S.
  if (!S_ISFIFO(facts.st_mode)) return;
  own_.reset(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
  if (own_.is_open()) {
    fd_ = own_.get();
  } else {
    waits_for_room_ = true;
  }
}

std::size_t OutputSink::write_now(std::string_view bytes) {
  std::size_t written = 0;
  while (written < bytes.size()) {
    std::string_view piece = bytes.substr(written);
    if (waits_for_room_) {
      if (!has_room_now(fd_)) return written;
      piece = piece.substr(0, PIPE_BUF);
    }
    const ssize_t got = is_socket_ ? send(fd_, piece.data(), piece.size(), MSG_DONTWAIT | MSG_NOSIGNAL)
                                   : ::write(fd_, piece.data(), piece.size());
    if (got > 0) {
      written += static_cast<std::size_t>(got);
    } else if (got < 0 && errno == EINTR) {
      continue;
    } else {
      if (got < 0 && errno == EAGAIN) return written;
      // The reader has gone, the disk is full: this is lost, and the next piece is tried anew.
      dropped_ += bytes.size() - written;
      return bytes.size();
    }
  }
  return written;
}

void OutputSink::write(Instant now, std::string_view bytes) {
  if (is_dropping_) {
    dropped_ += bytes.size();
    return;
  }
  if (waiting() == 0) {
    bytes.remove_prefix(write_now(bytes));
    stalled_since_ = now;
  }
  buffer_.append(bytes);
}

void OutputSink::flush(Instant now) {
  if (waiting() == 0) return;
  const std::size_t written = write_now(std::string_view(buffer_).substr(begin_));
  begin_ += written;
  if (written > 0) stalled_since_ = now;
  if (waiting() == 0) {
    buffer_ = std::string();  // Gives the memory back: it is seldom needed.
    begin_ = 0;
    is_dropping_ = false;
  } else if (waiting() >= kBufferBytes && now - stalled_since_ >= kStallLimit) {
    is_dropping_ = true;
  } else if (begin_ >= kBufferBytes / 2) {
    buffer_.erase(0, begin_);
    begin_ = 0;
  }
}

void OutputSink::drop_waiting() {
  dropped_ += waiting();
  buffer_ = std::string();
  begin_ = 0;
}

// ---- OutputPump ------------------------------------------------------------------------------------------

Done OutputPump::open() {
  sinks_[0].open(STDOUT_FILENO);
  sinks_[1].open(STDERR_FILENO);
  is_joined_ = isatty(STDOUT_FILENO) == 0 && is_same_file(STDOUT_FILENO, STDERR_FILENO);
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    if (isatty(static_cast<int>(i) + STDOUT_FILENO) != 0 || (i == 1 && is_joined_)) continue;
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) return Error{fmt::format("cannot make a pipe: {}", std::strerror(errno))};
    streams_[i].read_end.reset(ends[0]);
    streams_[i].write_end.reset(ends[1]);
    // The two ends are two open files: the program's stays blocking.
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
  }
  return Unit{};
}

void OutputPump::add_to(PollSet& set) {
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    const bool reads = streams_[i].is_piped() && sinks_[i].has_room();
    streams_[i].slot = reads ? set.add(streams_[i].read_end.get(), POLLIN) : kNoSlot;
    sink_slots_[i] = sinks_[i].waiting() > 0 ? set.add(sinks_[i].poll_fd(), POLLOUT) : kNoSlot;
  }
}

void OutputPump::step(Instant now, const PollSet& set) {
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    if (set.ready(streams_[i].slot) != 0) pump(now, i);
    // Also without room, so that a stall is noticed.
    sinks_[i].flush(now);
  }
}

Instant OutputPump::next_wakeup() const {
  Instant next = kNever;
  for (const OutputSink& sink : sinks_) {
    if (!sink.has_room()) next = std::min(next, sink.stalled_since() + OutputSink::kStallLimit);
  }
  return next;
}

bool OutputPump::pump(Instant now, std::size_t index) {
  static std::array<char, kReadBytes> buffer;  // One owner thread; no page of it is touched before output flows.
  const ssize_t got = read(streams_[index].read_end.get(), buffer.data(), buffer.size());
  if (got <= 0) return false;
  const std::string_view bytes(buffer.data(), static_cast<std::size_t>(got));
  keep_tail(bytes);
  sinks_[index].write(now, bytes);
  return true;
}

void OutputPump::keep_tail(std::string_view bytes) {
  if (bytes.size() >= kTailBytes) {
    tail_.assign(bytes.substr(bytes.size() - kTailBytes));
    return;
  }
  const std::size_t too_many = tail_.size() + bytes.size() > kTailBytes ? tail_.size() + bytes.size() - kTailBytes : 0;
  tail_.erase(0, too_many);
  tail_.append(bytes);
}

void OutputPump::drain(Instant now) {
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    if (!streams_[i].is_piped()) continue;
    for (int reads = 0; reads < kDrainReadsMax && pump(now, i); ++reads) {
    }
  }
}

bool OutputPump::finish(Instant now) {
  bool is_done = true;
  for (OutputSink& sink : sinks_) {
    sink.flush(now);
    if (sink.waiting() > 0 && now - sink.stalled_since() >= OutputSink::kStallLimit) sink.drop_waiting();
    is_done = is_done && sink.waiting() == 0;
  }
  return is_done;
}

void OutputPump::note(Instant now, std::string_view line) {
  sinks_[is_joined_ ? 0 : 1].write(now, fmt::format("defib run: {}\n", line));
}

}  // namespace defib::run
