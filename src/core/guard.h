// Stops recovery while too much fails at once, and names what the failed have in common (rule of recovery 4).
//
// Pure. Counts who is missing now or failed within the window, over the fleet and by host, type and
// label; the tally is made at most once a turn, and only when somebody asks. A hold ends by beats, by time
// (GuardRule::holds_at_most) or by hand; after the latter two the same crowd does not hold again, a new one does.
#pragma once

#include <deque>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/registry.h"
#include "core/turn.h"

namespace defib::core {

class Guard {
 public:
  explicit Guard(Registry& registry) : registry_(registry) {}

  // Every change of state and every removal.
  void on_change(const Happening& happening, Instant now);

  // An agent that came back from the journal in this state.
  void restore(const Agent& agent, Instant now);

  // Why recovery of this agent is held now; nullopt: it may go on.
  std::optional<std::string> holds(const Agent& agent, Instant now);
  // Begins or ends holds by the present tally; true where that changed anything.
  bool refresh(Instant now);
  void end_by_hand();

  bool is_holding() const { return hold_.has_value() && !hold_->is_released; }
  // "12 of 20 agents failed or are missing within 30 s; all of them on host h1"; empty: holds nothing.
  std::string reason() const { return is_holding() ? describe(hold_->crowds.front()) : std::string(); }
  std::string end_reason() const { return end_reason_; }
  // How the last hold ended: the crowd cleared by itself, not by time or by hand.
  bool has_ended_by_beats() const { return !hold_.has_value(); }
  // When refresh() should be called though nothing happens.
  Instant next() const { return hold_ ? tallied_ + 1s : kNever; }

 private:
  enum class Scope : std::uint8_t { fleet, host, type, label };
  struct Crowd {
    Scope scope = Scope::fleet;
    Symbol symbol = Symbols::kEmpty;
    std::uint32_t bad = 0;
    std::uint32_t all = 0;
  };

  struct Hold {
    std::vector<Crowd> crowds;  // All that are too large; the first says most.
    std::set<AgentKey> down;    // Who fell since it began and is still down: time alone makes nobody well.
    Instant since{};
    bool is_released = false;  // By time or by hand: waits only for the crowds to clear.
  };

  std::set<AgentKey> bad_now(Instant now);
  bool is_down(AgentKey key) const;
  std::vector<Crowd> crowds_among(const std::set<AgentKey>& bad) const;
  bool is_too_many(std::uint32_t bad, std::uint32_t all) const;
  static bool concerns(const Crowd& crowd, const Agent& agent);
  std::string describe(const Crowd& crowd) const;
  std::string scope_words(Scope scope, Symbol symbol) const;

  Registry& registry_;
  std::set<AgentKey> missing_;
  std::deque<std::pair<Instant, AgentKey>> failed_;
  std::optional<Hold> hold_;
  std::string end_reason_;
  Instant tallied_{};
  bool is_changed_ = false;
};

}  // namespace defib::core
