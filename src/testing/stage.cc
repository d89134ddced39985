#include "testing/stage.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/check.h"
#include "testing/print.h"

namespace defib::stage {
namespace {

// Not zero, so that a forgotten instant does not look like the start. 2026-01-01T00:00:00Z.
constexpr Instant kStart = Instant(1h);
constexpr WallTime kStartWall = wall_from_ms(1'767'225'600'000);

std::string voice(const BeatSpec& spec) { return spec.agent + "/" + spec.instance; }

}  // namespace

Stage::Stage(core::Rules rules, std::uint64_t seed) : rules_(std::move(rules)), seed_(seed), now_(kStart) {
  engine_ = std::make_unique<core::Engine>(rules_, seed_);
  const core::Snapshot empty = journal_.snapshot(now_);
  journal_.begin(now_);
  step({core::Restored{&empty}});
}

WallTime Stage::wall() const {
  return kStartWall + std::chrono::duration_cast<std::chrono::milliseconds>(now_ - kStart + wall_offset_);
}

Duration Stage::elapsed() const { return now_ - kStart; }

core::State Stage::state(std::string_view agent) const {
  const auto view = engine_->agent(now_, agent);
  DEFIB_CHECK(view.has_value());
  return view->state;
}

core::Beat Stage::make_beat(const BeatSpec& spec, std::vector<core::Label>& labels) {
  core::Beat beat;
  beat.agent_id = spec.agent;
  beat.agent_type = spec.type;
  beat.instance_id = spec.instance;
  beat.host = spec.host;
  beat.pid = spec.pid;
  beat.connection = spec.connection;
  if (spec.has_sequence) {
    std::uint64_t& last = sequences_[voice(spec)];
    last = spec.sequence.value_or(last + 1);
    beat.sequence = last;
  }
  if (spec.has_timestamp) beat.timestamp_ms = to_ms(wall()) + spec.skew_ms;
  beat.status = spec.status;
  if (spec.interval) beat.interval_ms = to_ms(*spec.interval);
  if (spec.task) beat.current_task = *spec.task;
  beat.task_progress = spec.task_progress;
  if (spec.activity) beat.activity = core::Beat::Activity{.kind = *spec.activity};
  beat.metrics = spec.metrics;
  for (const auto& [key, value] : spec.labels) labels.emplace_back(key, value);
  beat.labels = labels;
  beat.capsule = spec.capsule;
  beat.refusal = spec.refusal;
  beat.is_runner = spec.is_runner;
  if (spec.exit) {
    beat.exit = core::Exit{.code = spec.exit->code,
                           .signal = spec.exit->signal,
                           .output_tail = spec.exit->output_tail,
                           .is_restarted = spec.exit->is_restarted,
                           .spent = spec.exit->spent};
  }
  return beat;
}

core::Answer Stage::beat(const BeatSpec& spec) {
  std::vector<core::Label> labels;
  return step({core::BeatReceived{spec.source, make_beat(spec, labels)}}).front();
}

core::Answer Stage::give(const core::Event& event) { return step({event}).front(); }

void Stage::change_rules(const core::Rules& rules) {
  rules_ = rules;
  step({core::RulesChanged{&rules_}});
}

void Stage::set_journal_writable(bool is_writable) {
  step({core::JournalState{is_writable, is_writable ? "" : "the disk is full"}});
}

void Stage::advance(Duration length) {
  const Instant end = now_ + length;
  while (now_ < end) {
    const Instant wake = std::max(engine_->next_wakeup(), now_ + 1ns);
    now_ = std::min({end, wake, next_heart()});
    beat_hearts();
    step({});
  }
}

void Stage::jump(Duration length) {
  now_ += length;
  std::vector<core::Event> waiting;
  std::deque<std::vector<core::Label>> labels;  // Addresses stay: the beats borrow from here.
  for (auto& [key, heart] : hearts_) {
    for (; heart.next <= now_; heart.next += heart.every) {
      waiting.emplace_back(core::BeatReceived{heart.spec.source, make_beat(heart.spec, labels.emplace_back())});
    }
  }
  step(std::move(waiting));
}

void Stage::crash(Duration down) {
  unwritten_.clear();
  const Instant alive = now_;
  now_ += down;
  for (auto& [key, heart] : hearts_) {
    for (; heart.next <= now_; heart.next += heart.every) sequences_[key] += 1;
  }
  engine_ = std::make_unique<core::Engine>(rules_, ++seed_);
  const core::Snapshot snapshot = journal_.snapshot(alive);
  journal_.begin(now_);
  step({core::Restored{&snapshot}});
}

void Stage::heart(const BeatSpec& spec, std::optional<Duration> every) {
  if (!every) {
    hearts_.erase(voice(spec));
    return;
  }
  hearts_[voice(spec)] = Heart{spec, *every, now_ + *every};
}

Instant Stage::next_heart() const {
  Instant next = kNever;
  for (const auto& [key, heart] : hearts_) next = std::min(next, heart.next);
  return next;
}

void Stage::beat_hearts() {
  for (auto& [key, heart] : hearts_) {
    if (heart.next > now_) continue;
    heart.next += heart.every;
    beat(heart.spec);
  }
}

void Stage::set_auto_persist(bool is_on) {
  // What waits goes first, so that an older record never overwrites a newer one.
  while (is_on && persist_next()) continue;
  is_auto_persist_ = is_on;
}

bool Stage::persist_next() {
  if (unwritten_.empty()) return false;
  const core::PersistToken token = unwritten_.front().token;
  journal_.apply(unwritten_.front().record, now_);
  unwritten_.pop_front();
  while (!unwritten_.empty() && unwritten_.front().token == 0) {
    journal_.apply(unwritten_.front().record, now_);
    unwritten_.pop_front();
  }
  step({core::Persisted{token}});
  return true;
}

std::vector<core::Answer> Stage::step(std::vector<core::Event> events) {
  std::vector<core::Answer> first;
  core::Effects effects;
  for (int steps = 0; steps == 0 || !events.empty(); ++steps) {
    DEFIB_CHECK(steps < kStepsPerInstantMax);
    engine_->step(core::Now{now_, wall()}, events, effects);
    DEFIB_CHECK(effects.answers.size() == events.size());
    if (steps == 0) first = effects.answers;
    note_answers(events, effects.answers);
    events.clear();
    perform(effects, events);
  }
  if (first.empty()) first.push_back(core::Answer::accepted);
  return first;
}

void Stage::note_answers(const std::vector<core::Event>& events, const std::vector<core::Answer>& answers) {
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (answers[i] == core::Answer::accepted) continue;
    if (const auto* beat = std::get_if<core::BeatReceived>(&events[i])) {
      log(fmt::format("beat {} {}", beat->beat.agent_id, name(answers[i])));
    } else {
      log(fmt::format("event {}", name(answers[i])));
    }
  }
}

void Stage::perform(const core::Effects& effects, std::vector<core::Event>& answers) {
  for (const core::Effect& effect : effects.list) {
    seen_.emplace_back(now_, effect);
    if (const std::string line = print(effect); !line.empty()) log(line);
    if (const auto* persist = std::get_if<core::Persist>(&effect)) {
      write(*persist, answers);
    } else if (const auto* notice = std::get_if<core::SendNotice>(&effect); notice != nullptr && is_auto_deliver_) {
      answers.emplace_back(core::Delivered{.notice = notice->notice.id, .end = core::DeliveryEnd::done});
    }
  }
}

void Stage::write(const core::Persist& persist, std::vector<core::Event>& answers) {
  if (!is_auto_persist_ && (persist.token != 0 || !unwritten_.empty())) {
    unwritten_.push_back(persist);
    return;
  }
  journal_.apply(persist.record, now_);
  if (persist.token != 0) answers.emplace_back(core::Persisted{persist.token});
}

void Stage::log(const std::string& line) { log_ += fmt::format("{} {}\n", print_time(elapsed()), line); }

std::string Stage::take_log() { return std::exchange(log_, {}); }

}  // namespace defib::stage
