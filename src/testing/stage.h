// A monitor on a pretend stage: one engine, a pretend clock, a pretend journal, and actors that do what
// the test says. Nothing here waits; time moves only by advance(), jump() and crash().
//
// By default the journal acknowledges and the channels deliver at once, within the same instant, so
// that a scenario shows decisions and not plumbing; both can be taken into hand.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/engine.h"
#include "core/event.h"
#include "sim/journal.h"

namespace defib::stage {

// A beat that owns its text. What is left out is filled in: the next sequence of this agent and
// instance, and the stage's wall clock as the sender's.
struct BeatSpec {
  std::string agent;
  std::string type;
  std::string instance;
  std::string host;
  std::int64_t pid = 0;
  core::Source source = core::Source::endpoint;
  std::uint64_t connection = 0;
  bool has_sequence = true;
  std::optional<std::uint64_t> sequence;
  bool has_timestamp = true;
  std::int64_t skew_ms = 0;  // The sender's clock minus the stage's.
  core::Status status = core::Status::healthy;
  std::optional<Duration> interval;
  std::optional<std::string> task;
  std::optional<double> task_progress;
  std::optional<core::ActivityKind> activity;
  std::optional<core::Metrics> metrics;
  std::vector<std::pair<std::string, std::string>> labels;
  std::string capsule;
  std::string refusal;
  bool is_runner = false;
  struct ExitSpec {
    int code = 0;
    int signal = 0;
    std::string output_tail;
    bool is_restarted = false;
    std::uint32_t spent = 0;
  };
  std::optional<ExitSpec> exit;
};

class Stage {
 public:
  explicit Stage(core::Rules rules, std::uint64_t seed = 1);

  // ---- Inputs; each is one step at the present instant.
  core::Answer beat(const BeatSpec& spec);
  core::Answer give(const core::Event& event);
  void change_rules(const core::Rules& rules);
  void set_journal_writable(bool is_writable);

  // ---- Time.
  // Walks to the new instant, stopping at every wake-up of the engine and every beat of a heart.
  void advance(Duration length);
  // The monitor did not run for this long: one step after the gap. Beats of hearts wait until then.
  void jump(Duration length);
  // The monitor dies: what the journal had not acknowledged is lost. It is back after `down`, in which
  // beats of hearts are lost.
  void crash(Duration down);
  // A step of the monitor's wall clock; the steady one goes on.
  void step_wall_clock(Duration by) { wall_offset_ += by; }

  // Beats by itself while time advances, the first one after `every`; an empty duration ends it.
  void heart(const BeatSpec& spec, std::optional<Duration> every);

  // ---- The pretend world in hand.
  // Off: tokens wait until persist_next() or until it is on again.
  void set_auto_persist(bool is_on);
  bool persist_next();
  // Off: notices wait for Delivered events by hand.
  void set_auto_deliver(bool is_on) { is_auto_deliver_ = is_on; }

  // ---- What came out.
  Instant now() const { return now_; }
  WallTime wall() const;
  Duration elapsed() const;
  const core::Engine& engine() const { return *engine_; }
  core::State state(std::string_view agent) const;  // The agent must be known.
  // All effects since the start or the last forget(), with their time.
  const std::vector<std::pair<Instant, core::Effect>>& seen() const { return seen_; }
  void forget() { seen_.clear(); }
  // Those of one kind.
  template <typename E>
  std::vector<E> all() const {
    std::vector<E> found;
    for (const auto& [at, effect] : seen_) {
      if (const auto* hit = std::get_if<E>(&effect)) found.push_back(*hit);
    }
    return found;
  }
  // The printed lines since the last call.
  std::string take_log();

 private:
  struct Heart {
    BeatSpec spec;
    Duration every{};
    Instant next{};
  };

  // Steps with these events, then with what the pretend world answers at once, until it is quiet.
  std::vector<core::Answer> step(std::vector<core::Event> events);
  void perform(const core::Effects& effects, std::vector<core::Event>& answers);
  void note_answers(const std::vector<core::Event>& events, const std::vector<core::Answer>& answers);
  void write(const core::Persist& persist, std::vector<core::Event>& answers);
  void log(const std::string& line);
  // The core's beat; it borrows from `spec` and from `labels`.
  core::Beat make_beat(const BeatSpec& spec, std::vector<core::Label>& labels);
  Instant next_heart() const;
  void beat_hearts();

  // Steps within one instant; past it the core would be talking to itself for ever.
  static constexpr int kStepsPerInstantMax = 1000;

  core::Rules rules_;
  std::uint64_t seed_;
  Instant now_;
  Duration wall_offset_{0};
  std::unique_ptr<core::Engine> engine_;
  sim::Journal journal_;
  std::deque<core::Persist> unwritten_;  // From the first unacknowledged token on.
  bool is_auto_persist_ = true;
  bool is_auto_deliver_ = true;
  std::map<std::string, std::uint64_t> sequences_;  // By agent and instance.
  std::map<std::string, Heart> hearts_;             // By agent and instance.
  std::vector<std::pair<Instant, core::Effect>> seen_;
  std::string log_;
};

}  // namespace defib::stage
