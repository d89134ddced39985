// A pretend world around one real engine: agents, the way to them, a journal, adapters and channels, and a
// plan of what goes wrong. One seed gives one run, to the last effect.
//
// The engine is the daemon's. The world keeps the truth, performs the effects, and tells the checkers
// what the monitor heard and did; it stops at the first broken promise.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/prng.h"
#include "core/engine.h"
#include "sim/channel.h"
#include "sim/checkers.h"
#include "sim/faults.h"
#include "sim/fleet.h"
#include "sim/journal.h"
#include "sim/message.h"
#include "sim/queue.h"

namespace defib::sim {

struct Options {
  std::uint64_t seed = 1;
  std::uint32_t agents = 0;  // 0: chosen by the seed, 5 to 400.
  Duration length = 24h;
  bool is_verbose = false;  // Every effect and fault goes to stderr.
};

struct Outcome {
  Options options;  // With the number of agents that was chosen.
  Tally tally;
  std::optional<Violation> violation;
  std::vector<std::string> last_faults;
  std::vector<std::string> last_effects;
};

class World {
 public:
  explicit World(const Options& options);
  Outcome run();

 private:
  static constexpr std::uint32_t kNoMessage = UINT32_MAX;
  static constexpr std::size_t kLinesKept = 60;
  // The engine talks to itself no longer than this within one instant.
  static constexpr std::uint32_t kStepsPerInstantMax = 10'000;

  struct Item {  // What waits for the next step: a message, or another event.
    std::uint32_t message = kNoMessage;
    core::Event event;
  };
  struct Action {
    core::IncidentId incident = 0;
    std::uint32_t attempt = 0;
    std::uint32_t agent = 0;
    std::uint32_t epoch = 0;  // Of the monitor that began it.
    core::StepKind kind = core::StepKind::restart;
    bool is_by_runner = false;
    bool takes_effect = true;
    core::ActionEnd end = core::ActionEnd::done;
    std::string new_instance_id;
    std::string old_instance_id;
  };
  struct Boot {
    std::string instance_id;
    bool is_beside = false;  // A replacement: whatever runs goes on.
  };
  struct Delivery {
    core::NoticeId notice = 0;
    std::uint32_t epoch = 0;
  };

  // ---- world.cc: time, the monitor, what it hears.
  void handle(const Timer& timer);
  bool may_step() const { return is_up_ && now_ >= paused_until_; }
  void step();
  void take_answer(const Message& message, core::Answer answer);
  core::Event make_event(const Message& message) const;
  core::RecordWritten make_record(const Message& message) const;
  void arrive(std::uint32_t message);
  void post(core::Event event);
  void crash_monitor(Duration down);
  void bring_monitor_back();
  void forget_beats(const core::AgentRecord& record);
  void write_journal();
  void check_overdue(std::uint32_t agent);
  std::int64_t wall_ms() const;
  void note_effect(const core::Effect& effect);
  void note_fault(const Fault& fault);

  // ---- world_agents.cc: what agents do by themselves.
  void beat(std::uint32_t process, std::uint32_t generation);
  void send(const Message& message, bool is_reliable);
  bool is_cut_off(const PretendAgent& agent, const Process& process) const;
  void come_up(std::uint32_t agent, std::string instance_id);
  void announce_life(std::uint32_t process);
  void boot(std::uint32_t agent, const Boot& boot);
  void boot_later(std::uint32_t agent, Duration after, Boot boot);
  void die(std::uint32_t agent);
  void crash(std::uint32_t agent);
  void stop_cleanly(std::uint32_t agent);
  void thaw(std::uint32_t process, std::uint32_t generation);
  void obey(std::uint32_t process);
  void repair(std::uint32_t agent);
  void replay(std::uint32_t agent, std::int64_t count);

  // ---- world_effects.cc: the adapters.
  void perform(core::Effects& effects);
  void start_action(const core::PerformAction& action);
  void choose_end(const core::PerformAction& action, Action& made);
  void take_effect(const Action& action);
  void end_action(const Action& action);
  void set_fenced(std::uint32_t agent, std::string_view instance_id, bool is_fenced);
  void command(const core::SendCommand& sent);
  void deliver(const Delivery& delivery);

  // ---- world_faults.cc: the plan carried out.
  void strike();
  void strike_agent(const Fault& fault);
  void strike_many(const Fault& fault);
  void strike_monitor(const Fault& fault);
  void ask_operator(const Fault& fault);
  void redis_goes(Duration length);
  void redis_is_seen(bool is_restarted);

  Options options_;
  Prng prng_;
  core::Rules rules_;
  Fleet fleet_;
  Channel channel_;
  FaultPlan plan_;
  Checkers checkers_;
  Queue queue_;
  Journal journal_;
  std::unique_ptr<core::Engine> engine_;
  core::Effects effects_;

  Instant now_;
  Instant end_;
  Instant last_step_{};
  Instant was_due_ = kNever;  // When the engine wanted to be woken, at its last step.
  std::uint32_t steps_in_instant_ = 0;
  bool is_up_ = false;
  std::uint32_t epoch_ = 0;  // Counts the monitor's starts.
  Instant paused_until_{};

  std::vector<Message> messages_;
  std::vector<std::uint32_t> free_messages_;
  std::vector<Item> inbox_;
  std::vector<Item> taken_;  // Of the step under way.
  std::vector<core::Event> events_;
  std::deque<core::Persist> unwritten_;
  bool is_write_planned_ = false;

  std::deque<Action> actions_;
  std::deque<Boot> boots_;
  std::deque<Delivery> deliveries_;
  std::vector<std::string> operator_words_;
  std::uint64_t next_request_ = 0;

  Fault next_fault_;
  std::array<Instant, 8> cut_off_until_{};  // By host.
  Instant redis_down_until_{};
  Instant redis_seen_{};
  bool is_redis_blind_ = false;
  Instant scripts_fail_until_{};
  Instant scripts_lie_until_{};
  Instant scripts_hang_until_{};
  Instant channels_fail_until_{};
  Instant journal_bad_since_{};
  Instant journal_bad_until_{};
  Instant last_alive_{};

  std::deque<std::string> last_faults_;
  std::deque<std::string> last_effects_;
};

}  // namespace defib::sim
