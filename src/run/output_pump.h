// Passes the program's output on, byte for byte, and keeps its last lines for the exit report.
//
// The program writes into pipes that we read; what we read goes to our own stdout and stderr. Where both are the same
// file, the program gets one pipe for both, so that their order stays. A terminal is handed through as it is: the
// program keeps its line editing and colours, and there is no tail.
//
// A slow reader slows the program, as a plain pipe does. A reader that takes nothing for kStallLimit while kBufferBytes
// wait does not stop it: from then on output is dropped and counted until the reader has taken all that waits. What
// can't be written (EPIPE, ENOSPC) is dropped and counted too. Writing never blocks us: pipes are opened anew for
// ourselves, so that the flags that others see do not change.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "run/poll_set.h"
#include "run/unique_fd.h"

namespace defib::run {

// One of our own outputs.
class OutputSink {
 public:
  static constexpr std::size_t kBufferBytes = 1024 * 1024;
  static constexpr Duration kStallLimit = 2s;

  // `fd` stays open and is not owned.
  void open(int fd);
  void write(Instant now, std::string_view bytes);
  // Writes what waits, as far as it goes now.
  void flush(Instant now);

  // More may come: it would not have to be dropped or to wait.
  bool has_room() const { return waiting() < kBufferBytes || is_dropping_; }
  std::size_t waiting() const { return buffer_.size() - begin_; }
  // Since when the reader has taken nothing although something waits; only where waiting() > 0.
  Instant stalled_since() const { return stalled_since_; }
  std::uint64_t dropped() const { return dropped_; }
  // Gives up what waits.
  void drop_waiting();
  int poll_fd() const { return fd_; }

 private:
  // Bytes that are dealt with: written, or lost to an error and counted.
  std::size_t write_now(std::string_view bytes);

  int fd_ = -1;
  UniqueFd own_;  // Where the pipe could be opened anew.
  bool is_socket_ = false;
  bool waits_for_room_ = false;  // Write only a piece that poll(2) has promised room for.
  std::string buffer_;
  std::size_t begin_ = 0;  // What is before it has gone out.
  Instant stalled_since_{};
  bool is_dropping_ = false;
  std::uint64_t dropped_ = 0;
};

class OutputPump {
 public:
  static constexpr std::size_t kTailBytes = 8 * 1024;

  OutputPump() = default;
  OutputPump(const OutputPump&) = delete;
  OutputPump& operator=(const OutputPump&) = delete;

  // Looks at our stdout and stderr and makes the pipes. Descriptors 0 to 2 must be open.
  Done open();
  // What the program gets; -1: ours as it is.
  int program_stdout() const { return streams_[0].program_end(); }
  int program_stderr() const { return is_joined_ ? streams_[0].program_end() : streams_[1].program_end(); }

  void add_to(PollSet& set);
  void step(Instant now, const PollSet& set);
  Instant next_wakeup() const;

  // Reads all that the pipes hold, room or not: a pipe's content at most, once the writers are gone.
  void drain(Instant now);
  // True when nothing waits any more, or its readers are stalled and it was given up.
  bool finish(Instant now);

  // One line of our own on stderr.
  void note(Instant now, std::string_view line);
  // The last bytes of both outputs since clear_tail(), kTailBytes at most.
  std::string_view tail() const { return tail_; }
  void clear_tail() { tail_.clear(); }
  // False where both outputs are terminals: there is no tail then.
  bool has_tail() const { return streams_[0].is_piped() || streams_[1].is_piped(); }
  std::uint64_t dropped() const { return sinks_[0].dropped() + sinks_[1].dropped(); }

 private:
  struct Stream {
    UniqueFd read_end;
    UniqueFd write_end;
    std::size_t slot = kNoSlot;
    bool is_piped() const { return read_end.is_open(); }
    int program_end() const { return write_end.get(); }
  };

  // Reads once; false where nothing was there.
  bool pump(Instant now, std::size_t index);
  void keep_tail(std::string_view bytes);

  std::array<Stream, 2> streams_;
  std::array<OutputSink, 2> sinks_;
  std::array<std::size_t, 2> sink_slots_ = {kNoSlot, kNoSlot};
  bool is_joined_ = false;
  std::string tail_;
};

}  // namespace defib::run
