// What the pretend agents do by themselves: come up, beat, die, stop, freeze and return.
#include <algorithm>

#include "sim/world.h"

namespace defib::sim {
namespace {

// A person notices in the end that an agent is gone for good.
constexpr Duration kRepairAfterMin = 1h;
constexpr Duration kRepairAfterMax = 3h;
constexpr Duration kRunnerRestart = 5ms;
// So many beats of a plain life may be lost in a row, and it is still the same life.
constexpr std::uint64_t kLostBeatsMax = 10;

std::size_t host_index(const Process& process) { return static_cast<std::size_t>(process.host.back() - '0') % 8; }

}  // namespace

bool World::is_cut_off(const PretendAgent& agent, const Process& process) const {
  if (now_ < cut_off_until_[host_index(process)]) return true;
  return agent.source == core::Source::redis && now_ < redis_down_until_;
}

void World::send(const Message& message, bool is_reliable) {
  const Process& process = fleet_.processes[message.process];
  PretendAgent& agent = fleet_.agents[process.agent];
  if (message.said == Said::registration) agent.hash_process = message.process;
  if (message.said == Said::goodbye_hash) agent.hash_stopped_at_ms = message.timestamp_ms;
  Channel::Copies copies{1, {channel_.send_reliably(prng_), 0ns}};
  if (!is_reliable) {
    copies = channel_.send(prng_);
    if (is_cut_off(agent, process)) return;
  } else if (agent.source == core::Source::redis) {
    // Hashes are not published: they are found by the next scan.
    copies.delays[0] += Duration(prng_.between(0, Duration(30s).count()));
  } else if (message.said == Said::registration) {
    // The same connection bears the beats after it.
    copies.delays[0] = 0ns;
  }
  for (std::uint32_t i = 0; i < copies.count; ++i) {
    std::uint32_t index = static_cast<std::uint32_t>(messages_.size());
    if (free_messages_.empty()) {
      messages_.push_back(message);
    } else {
      index = free_messages_.back();
      free_messages_.pop_back();
      messages_[index] = message;
    }
    queue_.add(now_ + copies.delays[i], Due::arrival, index);
  }
}

void World::beat(std::uint32_t index, std::uint32_t generation) {
  Process& process = fleet_.processes[index];
  if (process.condition != Condition::running || process.generation != generation) return;
  Message message{.said = Said::beat, .process = index, .sequence = ++process.sequence};
  message.timestamp_ms = wall_ms() + fleet_.agents[process.agent].skew_ms;
  message.interval = process.interval;
  process.sent[process.sequence % process.sent.size()] = {message.sequence, message.timestamp_ms};
  send(message, false);
  queue_.add(now_ + process.interval + Duration(prng_.between(0, 20'000'000)), Due::beat, index, generation);
}

// ---- Coming up -----------------------------------------------------------------------------------

void World::boot_later(std::uint32_t agent, Duration after, Boot boot) {
  fleet_.agents[agent].is_booting = true;
  boots_.push_back(std::move(boot));
  queue_.add(now_ + after, Due::boot, agent, static_cast<std::uint32_t>(boots_.size() - 1));
}

void World::boot(std::uint32_t index, const Boot& boot) {
  PretendAgent& agent = fleet_.agents[index];
  agent.is_booting = false;
  const bool is_there = agent.has_current && fleet_.current(agent).condition != Condition::gone;
  if (is_there && !boot.is_beside) fleet_.end(agent.current);
  come_up(index, boot.instance_id);
}

void World::come_up(std::uint32_t index, std::string instance_id) {
  PretendAgent& agent = fleet_.agents[index];
  agent.is_wanted = true;
  announce_life(fleet_.start(index, wall_ms(), std::move(instance_id)));
}

void World::announce_life(std::uint32_t index) {
  const Process& process = fleet_.processes[index];
  const PretendAgent& agent = fleet_.agents[process.agent];
  if (agent.kind == Kind::plain || agent.kind == Kind::named) {
    send({.said = Said::registration, .process = index}, true);
  }
  // The guide's client beats for the first time a whole interval after its start.
  const Duration first = agent.kind == Kind::plain ? process.interval : Duration(prng_.between(0, 500'000'000));
  queue_.add(now_ + first, Due::beat, index, process.generation);
}

void World::repair(std::uint32_t index) {
  PretendAgent& agent = fleet_.agents[index];
  const bool is_there = agent.has_current && fleet_.current(agent).condition != Condition::gone;
  if (is_there || agent.is_booting || !agent.is_wanted) return;
  boot_later(index, 1s, {});
}

// ---- Ends ----------------------------------------------------------------------------------------

// The current process is gone, whatever became of it before.
void World::die(std::uint32_t index) {
  PretendAgent& agent = fleet_.agents[index];
  fleet_.end(agent.current);
  agent.dead_since = now_;
  ++checkers_.tally().deaths;
  queue_.add(now_ + Duration(prng_.between(kRepairAfterMin.count(), kRepairAfterMax.count())), Due::repair, index);
}

void World::crash(std::uint32_t index) {
  PretendAgent& agent = fleet_.agents[index];
  if (!fleet_.is_running(agent)) return;
  const std::uint32_t ended = agent.current;
  die(index);
  if (agent.kind != Kind::runner) return;
  Process& process = fleet_.processes[ended];
  Message report{.said = Said::exit, .process = ended, .sequence = ++process.sequence};
  report.timestamp_ms = wall_ms() + agent.skew_ms;
  report.interval = process.interval;
  report.signal = prng_.below(2) == 0 ? 9 : 0;
  report.code = report.signal == 0 ? 1 : 0;
  if (agent.grant_left > 0) {
    --agent.grant_left;
    report.is_restarted = true;
    report.spent = ++agent.grant_spent;
    boot_later(index, kRunnerRestart, {});
  }
  send(report, true);
}

void World::stop_cleanly(std::uint32_t index) {
  PretendAgent& agent = fleet_.agents[index];
  if (!fleet_.is_running(agent) || agent.kind == Kind::ping) return;
  Process& process = fleet_.current(agent);
  Message goodbye{.process = agent.current};
  goodbye.timestamp_ms = wall_ms() + agent.skew_ms;
  goodbye.interval = process.interval;
  if (agent.kind != Kind::plain) {
    goodbye.said = Said::goodbye_beat;
    goodbye.sequence = ++process.sequence;
    // Over the connection that it then closes: a goodbye is not lost to the channel's dice.
    send(goodbye, true);
  } else {
    goodbye.said = Said::goodbye_hash;
    send(goodbye, true);
  }
  process.has_said_goodbye = true;
  agent.is_wanted = false;
  fleet_.end(agent.current);
}

void World::thaw(std::uint32_t index, std::uint32_t generation) {
  Process& process = fleet_.processes[index];
  if (process.condition != Condition::frozen || process.generation != generation) return;
  process.condition = Condition::running;
  // It beats at once: its timer was due long ago.
  queue_.add(now_, Due::beat, index, process.generation);
  if (process.is_fenced && process.is_obedient) queue_.add(now_ + 200ms, Due::obey, index);
}

void World::obey(std::uint32_t index) {
  Process& process = fleet_.processes[index];
  if (process.condition != Condition::running) return;
  PretendAgent& agent = fleet_.agents[process.agent];
  if (agent.current == index) {
    die(process.agent);
  } else {
    fleet_.end(index);
  }
}

void World::replay(std::uint32_t index, std::int64_t count) {
  const PretendAgent& agent = fleet_.agents[index];
  for (std::int64_t i = 0; i < count && !agent.history.empty(); ++i) {
    const std::uint32_t life = agent.history[prng_.below(agent.history.size())];
    const Process& process = fleet_.processes[life];
    const auto& [sequence, timestamp_ms] = process.sent[prng_.below(process.sent.size())];
    // Without a clock two old beats in a row look like a new life, and nobody could tell (rule 11). Nor can an old
    // beat be told from one that follows a few lost ones, where it lies just above a plain life's last.
    if (sequence == 0 || sequence > process.sequence_accepted || !agent.has_clock) continue;
    const std::uint64_t now_at = agent.has_current ? fleet_.current(agent).sequence_accepted : 0;
    if (agent.kind == Kind::plain && sequence > now_at && sequence <= now_at + kLostBeatsMax) continue;
    Message message{.said = Said::beat, .is_replay = true, .process = life, .sequence = sequence};
    message.timestamp_ms = timestamp_ms;
    message.interval = process.interval;
    send(message, false);
  }
}

}  // namespace defib::sim
