#include "sim/world.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <variant>

#include "base/check.h"
#include "sim/report.h"

namespace defib::sim {
namespace {

constexpr Instant kStart = Instant(1h);
constexpr WallTime kStartWall = wall_from_ms(1'767'225'600'000);  // 2026-01-01T00:00:00Z
constexpr Duration kFaultsPerAgentEvery = 10h;
constexpr Duration kAuditEvery = 30min;
constexpr Duration kRepeatAfter = 2s;  // A client says again what it could not say.

std::uint32_t choose_agents(const Options& options, Prng& prng) {
  const auto dice = static_cast<std::uint32_t>(prng.between(5, 400));
  return options.agents == 0 ? dice : options.agents;
}

// Some seeds have a good network, some a bad one. Losses stay so rare that three beats in a row are
// hardly ever lost; where they are, the checkers know.
ChannelOptions choose_channel(Prng& prng) {
  ChannelOptions options;
  options.delay_max = from_ms(prng.between(1, 80));
  options.spike_max = from_ms(prng.between(200, 6'000));
  options.loss_per_million = static_cast<std::uint32_t>(prng.between(0, 10'000));
  options.double_per_million = static_cast<std::uint32_t>(prng.between(0, 5'000));
  options.spike_per_million = static_cast<std::uint32_t>(prng.between(0, 5'000));
  return options;
}

}  // namespace

World::World(const Options& options)
    : options_(options),
      prng_(options.seed),
      rules_(Fleet::rules()),
      fleet_(choose_agents(options, prng_), prng_),
      channel_(choose_channel(prng_)),
      plan_(prng_.next(), static_cast<std::uint32_t>(fleet_.agents.size()),
            kFaultsPerAgentEvery / static_cast<std::int64_t>(fleet_.agents.size())),
      checkers_(fleet_, rules_),
      now_(kStart),
      end_(kStart + options.length) {
  options_.agents = static_cast<std::uint32_t>(fleet_.agents.size());
}

std::int64_t World::wall_ms() const { return to_ms(kStartWall) + to_ms(now_ - kStart); }

Outcome World::run() {
  bring_monitor_back();
  for (std::uint32_t i = 0; i < fleet_.agents.size(); ++i) {
    boot_later(i, Duration(prng_.between(0, Duration(5min).count())), {});
    queue_.add(now_ + 10min, Due::overdue, i);
  }
  // The fleet comes up before anything goes wrong.
  next_fault_ = plan_.next(now_ + 15min);
  queue_.add(next_fault_.at, Due::fault);
  queue_.add(now_ + kAuditEvery, Due::audit);
  while (now_ < end_ && !checkers_.violation()) {
    Instant wake = is_up_ ? std::max(inbox_.empty() ? engine_->next_wakeup() : now_, paused_until_) : kNever;
    wake = std::max(wake, now_);
    if (queue_.next() <= wake) {
      const Timer timer = queue_.take();
      DEFIB_CHECK(timer.at >= now_);
      if (timer.at != now_) steps_in_instant_ = 0;
      now_ = timer.at;
      handle(timer);
    } else {
      if (wake != now_) steps_in_instant_ = 0;
      now_ = wake;
      step();
    }
  }
  return {options_,
          std::move(checkers_.tally()),
          checkers_.violation(),
          {last_faults_.begin(), last_faults_.end()},
          {last_effects_.begin(), last_effects_.end()}};
}

void World::handle(const Timer& timer) {
  switch (timer.due) {
    case Due::beat:
      return beat(timer.a, timer.b);
    case Due::arrival:
      return arrive(timer.a);
    case Due::journal:
      return write_journal();
    case Due::action_takes:
      return take_effect(actions_[timer.a]);
    case Due::action_ends:
      return end_action(actions_[timer.a]);
    case Due::delivery:
      return deliver(deliveries_[timer.a]);
    case Due::boot:
      return boot(timer.a, boots_[timer.b]);
    case Due::obey:
      return obey(timer.a);
    case Due::thaw:
      return thaw(timer.a, timer.b);
    case Due::vanish:
      if (fleet_.processes[timer.a].condition != Condition::gone) fleet_.end(timer.a);
      return;
    case Due::fault:
      return strike();
    case Due::monitor_back:
      return bring_monitor_back();
    case Due::redis_blind:
      if (now_ >= redis_down_until_ || is_redis_blind_) return;
      is_redis_blind_ = true;
      return post(core::SourceBlind{core::Source::redis, redis_seen_, "no canary came back"});
    case Due::redis_back:
      return redis_is_seen(timer.b != 0);
    case Due::journal_back:
      post(core::JournalState{true, ""});
      return write_journal();
    case Due::repair:
      return repair(timer.a);
    case Due::overdue:
      return check_overdue(timer.a);
    case Due::audit:
      if (now_ >= journal_bad_until_ && now_ >= channels_fail_until_) checkers_.audit(now_);
      return queue_.add(now_ + kAuditEvery, Due::audit);
  }
}

// ---- The monitor ---------------------------------------------------------------------------------

void World::post(core::Event event) {
  if (is_up_) inbox_.push_back({kNoMessage, event});
}

void World::step() {
  DEFIB_CHECK(++steps_in_instant_ < kStepsPerInstantMax);
  if (now_ > was_due_) checkers_.on_pause(last_step_, was_due_, now_);
  taken_.swap(inbox_);
  events_.clear();
  for (const Item& item : taken_) {
    events_.push_back(item.message == kNoMessage ? item.event : make_event(messages_[item.message]));
  }
  engine_->step(core::Now{now_, wall_from_ms(wall_ms())}, events_, effects_);
  DEFIB_CHECK(effects_.answers.size() == events_.size());
  last_step_ = now_;
  was_due_ = engine_->next_wakeup();
  for (std::size_t i = 0; i < taken_.size(); ++i) {
    if (taken_[i].message != kNoMessage) {
      take_answer(messages_[taken_[i].message], effects_.answers[i]);
      free_messages_.push_back(taken_[i].message);
    } else if (const auto* persisted = std::get_if<core::Persisted>(&taken_[i].event)) {
      checkers_.on_persisted(persisted->token);
    } else if (const auto* blind = std::get_if<core::SourceBlind>(&taken_[i].event)) {
      checkers_.on_blind(blind->source, blind->since, now_);
    } else if (const auto* sight = std::get_if<core::SourceSighted>(&taken_[i].event)) {
      checkers_.on_sight(sight->source, now_, sight->is_restarted);
    } else if (const auto* end = std::get_if<core::ActionFinished>(&taken_[i].event)) {
      checkers_.on_action_end(end->incident, end->attempt);
    }
  }
  taken_.clear();
  for (const core::Effect& effect : effects_.list) {
    checkers_.on_effect(now_, effect);
    note_effect(effect);
  }
  checkers_.after_step(now_);
  perform(effects_);
}

void World::take_answer(const Message& message, core::Answer answer) {
  checkers_.on_answer(now_, message, answer);
  if (options_.is_verbose && answer != core::Answer::accepted) {
    const Process& sender = fleet_.processes[message.process];
    fmt::print(stderr, "{:>11.3f} s  {} life {} seq {} answered {}\n",
               static_cast<double>(to_ms(now_ - kStart)) / 1000.0, fleet_.agents[sender.agent].id, sender.life,
               message.sequence, name(answer));
  }
  if (answer != core::Answer::accepted || message.is_replay) return;
  Process& process = fleet_.processes[message.process];
  process.sequence_accepted = std::max(process.sequence_accepted, message.sequence);
  if (message.said == Said::goodbye_beat || message.said == Said::goodbye_hash) process.is_goodbye_heard = true;
  if (message.said == Said::exit) process.is_end_heard = true;
}

core::RecordWritten World::make_record(const Message& message) const {
  const Process& process = fleet_.processes[message.process];
  const PretendAgent& agent = fleet_.agents[process.agent];
  core::RecordWritten record{.source = agent.source,
                             .agent_id = agent.id,
                             .type = agent.type,
                             .host = process.host,
                             .pid = process.pid,
                             .connection = process.connection};
  if (agent.source == core::Source::redis) {
    // Redis is scanned: the whole hash is read, as it is then.
    record.registered_at_ms = process.registered_at_ms;
    if (agent.hash_stopped_at_ms != 0) record.stopped_at_ms = agent.hash_stopped_at_ms;
  } else if (message.said == Said::registration) {
    record.registered_at_ms = process.registered_at_ms;
  } else {
    record.stopped_at_ms = message.timestamp_ms;
  }
  return record;
}

core::Event World::make_event(const Message& message) const {
  const Process& process = fleet_.processes[message.process];
  const PretendAgent& agent = fleet_.agents[process.agent];
  if (message.said == Said::registration || message.said == Said::goodbye_hash) return make_record(message);
  if (message.said == Said::failure) return core::FailureReported{agent.source, agent.id, "exit code 1"};
  core::BeatReceived received{.source = agent.source};
  core::Beat& beat = received.beat;
  beat.agent_id = agent.id;
  beat.agent_type = agent.type;
  beat.instance_id = process.instance_id;
  beat.connection = message.is_replay ? 0 : process.connection;
  if (agent.kind != Kind::ping) beat.sequence = message.sequence;
  if (agent.has_clock) beat.timestamp_ms = message.timestamp_ms;
  if (agent.kind == Kind::named || agent.kind == Kind::runner) {
    beat.interval_ms = to_ms(message.interval);
    beat.host = process.host;
    beat.pid = process.pid;
    beat.started_at_ms = process.registered_at_ms;
    beat.current_task = "the work of the day";
  }
  beat.is_runner = agent.kind == Kind::runner;
  if (message.said == Said::goodbye_beat) beat.status = core::Status::stopped;
  if (message.said == Said::exit) {
    beat.exit = core::Exit{.code = message.code,
                           .signal = message.signal,
                           .output_tail = "the last line",
                           .is_restarted = message.is_restarted,
                           .spent = message.spent};
  }
  return received;
}

void World::arrive(std::uint32_t index) {
  Message& message = messages_[index];
  const PretendAgent& agent = fleet_.agents[fleet_.processes[message.process].agent];
  const bool is_hash = message.said == Said::registration || message.said == Said::goodbye_hash;
  if (is_hash && agent.source == core::Source::redis) {
    // What the scan finds is what was written last.
    message.process = agent.hash_process;
    const std::int64_t registered_at_ms = fleet_.processes[message.process].registered_at_ms;
    message.said = agent.hash_stopped_at_ms >= registered_at_ms ? Said::goodbye_hash : Said::registration;
  }
  const bool is_lost = !is_up_ || (agent.source == core::Source::redis && now_ < redis_down_until_);
  if (!is_lost) {
    if (agent.source == core::Source::redis) redis_seen_ = now_;
    inbox_.push_back({index, core::Persisted{}});
  } else if (message.said == Said::beat || message.said == Said::goodbye_beat || message.said == Said::failure) {
    free_messages_.push_back(index);
  } else {
    queue_.add(now_ + kRepeatAfter, Due::arrival, index);
  }
}

void World::crash_monitor(Duration down) {
  if (!is_up_) return;
  is_up_ = false;
  last_alive_ = now_ < journal_bad_until_ ? journal_bad_since_ : last_step_;
  engine_.reset();
  for (const Item& item : inbox_) {
    if (item.message != kNoMessage) free_messages_.push_back(item.message);
  }
  inbox_.clear();
  queue_.add(now_ + down, Due::monitor_back);
}

void World::bring_monitor_back() {
  std::vector<std::string> lost;
  for (const core::Persist& persist : unwritten_) {
    if (const auto* record = std::get_if<core::AgentRecord>(&persist.record)) lost.push_back(record->id);
  }
  unwritten_.clear();
  is_up_ = true;
  is_redis_blind_ = false;
  paused_until_ = now_;
  engine_ = std::make_unique<core::Engine>(rules_, options_.seed + epoch_);
  // The alive mark is written each second, where anything can be written.
  const core::Snapshot snapshot =
      journal_.snapshot(std::max(kStart, last_alive_ - last_alive_.time_since_epoch() % 1s));
  journal_.begin(now_);
  if (epoch_++ > 0) {
    checkers_.on_restart(snapshot.known_until, now_, journal_, lost);
    for (const core::AgentRecord& record : snapshot.agents) {
      forget_beats(record);
    }
  }
  was_due_ = kNever;
  last_step_ = now_;
  inbox_.push_back({kNoMessage, core::Restored{&snapshot}});
  if (now_ < journal_bad_until_) post(core::JournalState{false, "the disk is full"});
  if (now_ < redis_down_until_) {
    is_redis_blind_ = true;
    post(core::SourceBlind{core::Source::redis, now_, "no connection"});
  }
  step();
}

// What was heard after the last checkpoint is not in the journal: played again, it is news to the monitor.
void World::forget_beats(const core::AgentRecord& record) {
  for (const PretendAgent& agent : fleet_.agents) {
    if (agent.id != record.id) continue;
    for (const std::uint32_t life : agent.history) {
      Process& process = fleet_.processes[life];
      const bool is_it = process.instance_id.empty() ? process.pid == record.pid || record.pid == 0
                                                     : process.instance_id == record.instance_id;
      if (is_it && record.sequence) process.sequence_accepted = std::min(process.sequence_accepted, *record.sequence);
    }
    return;
  }
}

void World::write_journal() {
  is_write_planned_ = false;
  if (now_ < journal_bad_until_ || !is_up_) return;
  while (!unwritten_.empty()) {
    const core::PersistToken token = unwritten_.front().token;
    journal_.apply(unwritten_.front().record, now_);
    unwritten_.pop_front();
    if (token != 0) post(core::Persisted{token});
  }
}

void World::check_overdue(std::uint32_t agent) {
  // Not while the engine has yet to look at this instant.
  const bool is_settled = may_step() && inbox_.empty() && engine_->next_wakeup() > now_;
  if (is_settled) checkers_.check_found(agent, now_);
  const Instant by = is_settled ? checkers_.must_be_found_by(agent, now_) : kNever;
  queue_.add(by == kNever ? now_ + 30s : std::max(by, now_ + 10ms), Due::overdue, agent);
}

void World::note_effect(const core::Effect& effect) {
  hash_effect(effect, now_, checkers_.tally().effects_hash);
  const std::string line = effect_line(effect);
  if (line.empty()) return;
  last_effects_.push_back(fmt::format("{:>11.3f} s  {}", static_cast<double>(to_ms(now_ - kStart)) / 1000.0, line));
  if (last_effects_.size() > kLinesKept) last_effects_.pop_front();
  if (options_.is_verbose) std::fprintf(stderr, "%s\n", last_effects_.back().c_str());
}

void World::note_fault(const Fault& fault) {
  ++checkers_.tally().faults;
  last_faults_.push_back(print(fault, kStart));
  if (last_faults_.size() > kLinesKept) last_faults_.pop_front();
  if (options_.is_verbose) std::fprintf(stderr, "fault %s\n", last_faults_.back().c_str());
}

}  // namespace defib::sim
