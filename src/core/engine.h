// The only way in and the only way out of the core: events and a time in, effects out.
//
// Pure: no clock, no IO, no thread; one seed and one sequence of inputs give one sequence of effects.
// `now.steady` never decreases from step to step. One owner thread.
#pragma once

#include <memory>
#include <span>

#include "core/effect.h"
#include "core/event.h"
#include "core/policy.h"
#include "core/view.h"

namespace defib::core {

// One reading of the clocks, taken once a turn. Deadlines use `steady`; `wall` is for people.
struct Now {
  Instant steady{};
  WallTime wall{};
};

class Engine final : public View {
 public:
  // `seed` drives back-off jitter only.
  Engine(Rules rules, std::uint64_t seed);
  ~Engine() override;

  // Takes all events first, then settles the deadlines, then lets incidents, recovery and notices look:
  // a beat and its deadline in one step never open an incident. Clears `effects` first.
  void step(const Now& now, std::span<const Event> events, Effects& effects);

  // A step without events that hands the journal everything it does not know yet: before a clean end.
  void finish(const Now& now, Effects& effects);

  // When step must be called again though nothing happens. Calling earlier does no harm; calling much
  // later is a gap, in which nobody is judged (rule of judgement 6).
  Instant next_wakeup() const;

  std::array<std::uint64_t, kStateCount> counts() const override;
  std::optional<AgentView> agent(Instant now, std::string_view id) const override;
  std::optional<AgentKey> list_agents(Instant now, const AgentFilter& filter, AgentKey from, std::uint32_t look_at_most,
                                      const std::function<void(const AgentView&)>& take) const override;
  std::optional<Why> why(Instant now, std::string_view id) const override;
  std::vector<Incident> incidents(std::optional<bool> open, IncidentId before, std::size_t limit) const override;
  std::optional<Incident> incident(IncidentId id) const override;
  std::vector<SourceView> sources() const override;
  Counters counters() const override;
  bool is_journal_writable() const override;
  std::string guard_reason() const override;

 private:
  struct Rooms;
  std::unique_ptr<Rooms> rooms_;
};

}  // namespace defib::core
