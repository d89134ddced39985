// The runner's way to the monitor: never blocks, comes back by itself, and loses nothing but beats.
//
// Beats are said only while somebody listens: an old beat proves no life, so none is kept; on_line tells the runner
// to make a fresh one instead. Registrations, exit reports and goodbyes are kept, oldest first, until they have been
// answered; kKeptMax at most, then the oldest goes. One owner thread, driven by its turns: add_to(), poll, step().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/prng.h"
#include "base/time.h"
#include "run/messages.h"
#include "run/monitor_url.h"
#include "run/poll_set.h"

namespace defib::run {

struct LinkEvent {
  enum class Kind : std::uint8_t {
    on_line,  // Connected (again): say something. `text` is empty.
    command,  // `command` has come.
    fenced,   // The monitor has refused us: another has taken over. `text`: its words.
    trouble,  // For a person, once an outage or refusal: `text`.
  };
  Kind kind = Kind::trouble;
  std::string text;
  ControlCommand command;
};

struct LinkOptions {
  MonitorUrl url;
  std::string token;  // A secret; empty: none.
  std::string agent_id;
  std::string name_space;  // Empty: none.
  Duration interval{};     // Of the beats.
  std::uint64_t seed = 0;  // For the jitter of reconnecting.
};

class MonitorLink {
 public:
  static constexpr std::size_t kKeptMax = 8;
  // An answer that takes longer means that the connection is dead, whatever TCP thinks.
  static constexpr Duration kAnswerLimit = 10s;

  virtual ~MonitorLink() = default;

  // For now or never.
  virtual void say(Instant now, Message beat) = 0;
  // Kept until answered. The last registration is said again on each new connection.
  virtual void keep(Instant now, Message message, bool is_registration) = 0;

  // Something that was kept is not yet answered.
  virtual bool has_unsaid() const = 0;
  // A monitor has answered on the present connection and nothing speaks against it.
  virtual bool is_heard() const = 0;
  // The last try to reach it has failed.
  virtual bool is_lost() const = 0;
  // Commands would reach us even while we say nothing.
  virtual bool hears_commands() const = 0;

  virtual void add_to(PollSet& set) = 0;
  virtual void step(Instant now, const PollSet& set) = 0;
  virtual Instant next_wakeup() const = 0;
  // What has happened since the last call, oldest first.
  virtual std::vector<LinkEvent> take_events() = 0;
};

std::unique_ptr<MonitorLink> make_resp_link(LinkOptions options);
std::unique_ptr<MonitorLink> make_http_link(LinkOptions options);

// When to try again after failures: 0.2 s, doubling, each time between half of it and the whole. Never longer than
// an interval, since an agent that beats often is also missed soon, nor than 30 s.
class ReconnectDelay {
 public:
  ReconnectDelay(Duration interval, std::uint64_t seed);
  void reset() { next_ = kFirst; }
  // The upper half of the present delay, by chance, so that a fleet does not come back as one.
  Duration next();

 private:
  static constexpr Duration kFirst = 200ms;
  static constexpr Duration kCap = 30s;

  Prng prng_;
  const Duration cap_;
  Duration next_ = kFirst;
};

// Says once an outage that the monitor can't be reached, and not for the short ones.
class OutageTeller {
 public:
  static constexpr Duration kQuietFor = 10s;
  bool is_out() const { return since_ != kNever; }
  void on_success();
  void on_failure(Instant now, const std::string& monitor, const std::string& reason, std::vector<LinkEvent>& events);

 private:
  Instant since_ = kNever;
  bool is_told_ = false;
};

}  // namespace defib::run
