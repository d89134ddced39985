#include "net/process.h"

#include <algorithm>
#include <array>
#include <deque>
#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unordered_set>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/check.h"
#include "net/spawn.h"

namespace defib::net {

using boost::system::error_code;

namespace {

// Read of one script before the loop looks at anything else.
constexpr std::size_t kReadBytes = 64 * 1024;
// Read at most after the end: a pipe's capacity is 64 KiB, but a child left behind may go on writing.
constexpr int kReadsAtEndMax = 16;

// The last `bytes_max` bytes of what is appended; holds twice as much, so that it moves bytes seldom.
class Tail {
 public:
  explicit Tail(std::size_t bytes_max) : bytes_max_(bytes_max) {}
  void append(std::string_view bytes) {
    if (bytes.size() > bytes_max_) bytes.remove_prefix(bytes.size() - bytes_max_);
    text_ += bytes;
    if (text_.size() > 2 * bytes_max_) text_.erase(0, text_.size() - bytes_max_);
  }
  std::string take() {
    if (text_.size() > bytes_max_) text_.erase(0, text_.size() - bytes_max_);
    return std::exchange(text_, {});
  }

 private:
  const std::size_t bytes_max_;
  std::string text_;
};

}  // namespace

class ProcessRunner::Impl : public std::enable_shared_from_this<ProcessRunner::Impl> {
 public:
  explicit Impl(Loop& loop) : loop_(loop) {
    // Inherited from a careless parent it would make the kernel throw our children's exit statuses away.
    struct sigaction action {};
    if (::sigaction(SIGCHLD, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) ::signal(SIGCHLD, SIG_DFL);
  }

  Done run(const SpawnOptions& options, Duration timeout, Duration kill_grace, std::function<void(ProcessEnd)> done) {
    if (scripts_.size() >= kScriptsMax) {
      return Error{fmt::format("can't start {}: {} scripts are running already",
                               options.command.empty() ? "" : options.command[0], kScriptsMax)};
    }
    auto spawned = spawn(options);
    if (!spawned) return Error{spawned.error()};
    const auto script = std::make_shared<Script>(loop_, spawned.value(), options.tail_bytes_max, std::move(done));
    scripts_.insert(script);
    await_exit(script);
    await_time(script, timeout, SIGTERM, kill_grace);
    if (script->output.is_open()) await_output(script);
    return Unit{};
  }

  std::size_t running() const { return scripts_.size(); }

  // The scripts go on; nobody hears of their ends.
  void abandon() {
    for (const auto& script : scripts_) script->close();
    for (const auto& script : left_behind_) script->close();
    scripts_.clear();
    left_behind_.clear();
  }

 private:
  struct Script {
    Script(Loop& loop, const Spawned& spawned, std::size_t tail_bytes_max, std::function<void(ProcessEnd)> the_done)
        : pidfd(loop.context(), spawned.pidfd),
          output(loop.context()),
          timer(loop.context()),
          tail(tail_bytes_max),
          done(std::move(the_done)) {
      if (spawned.output >= 0) output.assign(spawned.output);
    }
    void close() {
      error_code ignored;
      pidfd.close(ignored);
      output.close(ignored);
      timer.cancel();
    }
    asio::posix::stream_descriptor pidfd;
    asio::posix::stream_descriptor output;
    asio::steady_timer timer;
    Tail tail;
    std::function<void(ProcessEnd)> done;
    bool is_timed_out = false;
  };
  using ScriptPtr = std::shared_ptr<Script>;

  // A pidfd becomes readable when its process ends (pidfd_open(2)).
  void await_exit(const ScriptPtr& script) {
    script->pidfd.async_wait(asio::posix::descriptor_base::wait_read,
                             [self = weak_from_this(), script](const error_code& error) {
                               const auto alive = self.lock();
                               if (alive && !error) alive->end(script);
                             });
  }

  // TERM when the time is up, then KILL: to the script's own process, never to what it has started.
  void await_time(const ScriptPtr& script, Duration time, int signal, Duration kill_grace) {
    script->timer.expires_after(std::chrono::duration_cast<asio::steady_timer::duration>(time));
    script->timer.async_wait([self = weak_from_this(), script, signal, kill_grace](const error_code& error) {
      const auto alive = self.lock();
      if (!alive || error || !script->pidfd.is_open()) return;
      script->is_timed_out = true;
      // By pidfd, so a pid that has been given to another process meanwhile can't be meant.
      ::syscall(SYS_pidfd_send_signal, script->pidfd.native_handle(), signal, nullptr, 0);
      if (signal == SIGTERM) alive->await_time(script, kill_grace, SIGKILL, kill_grace);
    });
  }

  void await_output(const ScriptPtr& script) {
    script->output.async_wait(asio::posix::descriptor_base::wait_read,
                              [self = weak_from_this(), script](const error_code& error) {
                                const auto alive = self.lock();
                                if (!alive || error || !script->output.is_open()) return;
                                if (alive->read_output(*script) == Reading::ended) {
                                  std::erase(alive->left_behind_, script);
                                  return;
                                }
                                alive->await_output(script);
                              });
  }

  enum class Reading : std::uint8_t { more, drained, ended };

  Reading read_output(Script& script) {
    const ssize_t size = ::read(script.output.native_handle(), scratch_.data(), scratch_.size());
    if (size < 0 && errno == EINTR) return Reading::more;
    if (size < 0 && errno == EAGAIN) return Reading::drained;
    if (size <= 0) {
      error_code ignored;
      script.output.close(ignored);
      return Reading::ended;
    }
    script.tail.append(std::string_view(scratch_.data(), static_cast<std::size_t>(size)));
    return Reading::more;
  }

  void end(const ScriptPtr& script) {
    siginfo_t info{};
    const int waited = ::waitid(P_PIDFD, static_cast<id_t>(script->pidfd.native_handle()), &info, WEXITED | WNOHANG);
    if (waited == 0 && info.si_pid == 0) return await_exit(script);
    ProcessEnd result{.is_timed_out = script->is_timed_out};
    if (waited != 0) {
      // Somebody else in this process has reaped it: what it ended with is lost, so it is no success.
      result.code = 255;
    } else if (info.si_code == CLD_EXITED) {
      result.code = info.si_status;
    } else {
      result.signal = info.si_status;
    }
    for (int i = 0; i < kReadsAtEndMax && script->output.is_open(); ++i) {
      if (read_output(*script) != Reading::more) break;
    }
    result.output_tail = script->tail.take();
    error_code ignored;
    script->pidfd.close(ignored);
    script->timer.cancel();
    scripts_.erase(script);
    leave_behind(script);
    std::exchange(script->done, nullptr)(std::move(result));
  }

  // An agent that the script has started may still write into the pipe, and would die of a closed one. So it is
  // read on, into the void, as long as we live.
  void leave_behind(const ScriptPtr& script) {
    if (!script->output.is_open()) return;
    left_behind_.push_back(script);
    if (left_behind_.size() <= kLeftBehindMax) return;
    left_behind_.front()->close();
    left_behind_.pop_front();
  }

  Loop& loop_;
  std::unordered_set<ScriptPtr> scripts_;
  std::deque<ScriptPtr> left_behind_;  // Oldest first.
  std::array<char, kReadBytes> scratch_{};
};

ProcessRunner::ProcessRunner(Loop& loop) : impl_(std::make_shared<Impl>(loop)) {}
ProcessRunner::~ProcessRunner() { impl_->abandon(); }
Done ProcessRunner::run(const SpawnOptions& options, Duration timeout, Duration kill_grace,
                        std::function<void(ProcessEnd)> done) {
  return impl_->run(options, timeout, kill_grace, std::move(done));
}
std::size_t ProcessRunner::running() const { return impl_->running(); }

}  // namespace defib::net
