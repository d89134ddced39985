// The engine alone: beats, silence, lateness, memory. Time is pretended; what is measured is CPU and RSS.
#include <algorithm>
#include <fmt/format.h>
#include <malloc.h>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "bare_loop.h"
#include "base/prng.h"
#include "benches.h"
#include "core/engine.h"
#include "fleet.h"
#include "ingest/beat_codec.h"
#include "ingest/inbox.h"

namespace defib::bench {
namespace {

constexpr std::uint32_t kSmall = 10'000;
constexpr std::uint32_t kLarge = 1'000'000;
constexpr std::size_t kBeatsPerStep = 256;  // What a busy turn of the loop brings.
constexpr Duration kInterval = 30s;
constexpr Instant kStart = Instant(1'000s);
constexpr WallTime kStartWall = wall_from_ms(1'767'225'600'000);

core::Now at(Instant t) { return {t, kStartWall + std::chrono::duration_cast<std::chrono::milliseconds>(t - kStart)}; }

// Verdicts only: what recovery costs is not a beat's cost.
core::Rules watch_only() {
  core::Rules rules;
  rules.policies = {core::Policy{.recovery = {}}};
  return rules;
}

struct StepCost {
  double decode_ns = 0;  // Codec and inbox.
  double step_ns = 0;    // Engine::step.
  double deliver_ns = 0;
};

// Codec, inbox and engine as the daemon joins them, in a pretended time.
class Monitor {
 public:
  explicit Monitor(std::uint64_t seed) : engine_(watch_only(), seed) {}

  StepCost beat(const MessageBatch& batch) {
    const double before = thread_cpu_ns();
    for (std::size_t i = 0; i < batch.size(); ++i) {
      auto beat = codec_.decode(batch.at(i), inbox_.arena());
      if (!beat.ok()) give_up("a message of ours was refused: " + beat.error());
      beat.value().connection = 1;
      inbox_.push(core::BeatReceived{.source = core::Source::endpoint, .beat = beat.value()});
    }
    const double decoded = thread_cpu_ns();
    engine_.step(at(now_), inbox_.events(), effects_);
    const double stepped = thread_cpu_ns();
    for (const core::Answer answer : effects_.answers) {
      if (answer != core::Answer::accepted) give_up("a beat of ours was not accepted");
    }
    const double checked = thread_cpu_ns();
    inbox_.deliver(effects_.answers);
    return {decoded - before, stepped - decoded, thread_cpu_ns() - checked};
  }
  void advance(Duration d) { now_ += d; }
  Instant now() const { return now_; }
  core::Engine& engine() { return engine_; }

 private:
  core::Engine engine_;
  ingest::BeatCodec codec_;
  ingest::Inbox inbox_;
  core::Effects effects_;
  Instant now_ = kStart;
};

// Beats `first` to `first + count`, and what they cost each.
StepCost send(Monitor& monitor, const Fleet& fleet, std::uint64_t first, std::size_t count, Duration per_step) {
  StepCost sum;
  MessageBatch batch;
  for (std::size_t sent = 0; sent < count; sent += batch.size()) {
    batch.fill(fleet, first + sent, std::min(kBeatsPerStep, count - sent));
    monitor.advance(per_step);
    const StepCost cost = monitor.beat(batch);
    sum.decode_ns += cost.decode_ns;
    sum.step_ns += cost.step_ns;
    sum.deliver_ns += cost.deliver_ns;
  }
  const auto beats = static_cast<double>(count);
  return {sum.decode_ns / beats, sum.step_ns / beats, sum.deliver_ns / beats};
}

double send_bare(BareLoop& bare, const Fleet& fleet, std::uint64_t first, std::size_t count) {
  double sum_ns = 0;
  MessageBatch batch;
  for (std::size_t sent = 0; sent < count; sent += batch.size()) {
    batch.fill(fleet, first + sent, std::min(kBeatsPerStep, count - sent));
    const double before = thread_cpu_ns();
    for (std::size_t i = 0; i < batch.size(); ++i) {
      if (!bare.take(batch.at(i), batch.readable_bytes(i), static_cast<std::int64_t>(sent))) give_up("the bare loop");
    }
    sum_ns += thread_cpu_ns() - before;
  }
  return sum_ns / static_cast<double>(count);
}

// The pretended time of a step at which each agent beats once an interval; a longer one would be a gap.
Duration pace_of(std::uint32_t agents) {
  return std::min<Duration>(1s, kInterval * static_cast<std::int64_t>(kBeatsPerStep) / agents);
}

void bench_beats(Report& report, std::uint32_t agents, std::string_view size, std::size_t beats) {
  progress(fmt::format("beats: a fleet of {}", agents));
  const Fleet fleet(agents, report.options().seed);
  Monitor monitor(report.options().seed);
  BareLoop bare(agents);
  std::uint64_t sent = 0;
  // Twice, so that every agent is well known when the measuring begins.
  for (int round = 0; round < 2; ++round) {
    send(monitor, fleet, sent, agents, pace_of(agents));
    send_bare(bare, fleet, sent, agents);
    sent += agents;
  }
  std::vector<double> decode, step, paced, all, bare_ns;
  for (unsigned run = 0; run < report.options().runs; ++run) {
    const StepCost cost = send(monitor, fleet, sent, beats, 1ms);
    bare_ns.push_back(send_bare(bare, fleet, sent, beats));
    sent += beats;
    decode.push_back(cost.decode_ns);
    step.push_back(cost.step_ns);
    all.push_back(cost.decode_ns + cost.step_ns + cost.deliver_ns);
  }
  // A whole round, so that each deadline in the wheel has its turn.
  paced.push_back(send(monitor, fleet, sent, agents, pace_of(agents)).step_ns);
  if (monitor.engine().counts()[static_cast<std::size_t>(core::State::healthy)] != agents) give_up("a beat was lost");
  const auto row = [&](std::string_view id, std::string_view what, std::vector<double> samples) {
    report.add(
        {fmt::format("{}.{}", id, size), fmt::format("{}, {} agents", what, agents), "ns/beat", std::move(samples)});
  };
  row("beat.bare", "the bare loop: checks and keeps every field", bare_ns);
  row("beat.decode", "codec and inbox", decode);
  row("beat.step", "engine, 256 beats a step, 1 ms a step", step);
  row("beat.step_paced", "engine, each agent every 30 s (wheel and checkpoints in full)", std::move(paced));
  row("beat.decode_step", "codec, inbox, engine, answers", all);
  report.add_ratio(fmt::format("beat.decode_step_vs_bare.{}", size),
                   fmt::format("codec and engine against the bare loop, {} agents", agents), all, bare_ns,
                   Better::lower, 1.25);
}

// ---- Memory ----------------------------------------------------------------------------------------

// Bytes of RSS that `build` left behind, an agent.
template <typename Build>
double rss_growth(std::uint32_t agents, Build&& build) {
  return in_child([&] {
    const std::size_t before = rss_bytes();
    const auto kept = build();
    malloc_trim(0);
    return static_cast<double>(rss_bytes() - before) / agents;
  });
}

// ---- Silence ---------------------------------------------------------------------------------------

core::Event plain_beat(std::string_view id, std::uint64_t sequence, Duration interval) {
  core::Beat beat;
  beat.agent_id = id;
  beat.sequence = sequence;
  beat.interval_ms = to_ms(interval);
  return core::BeatReceived{.source = core::Source::endpoint, .beat = beat};
}

void step_with(core::Engine& engine, Instant now, std::span<const std::string> ids, std::uint64_t sequence,
               Duration interval, core::Effects& effects) {
  std::vector<core::Event> events;
  for (const std::string& id : ids) events.push_back(plain_beat(id, sequence, interval));
  engine.step(at(now), events, effects);
}

std::size_t failures(const core::Effects& effects) {
  return static_cast<std::size_t>(std::count_if(effects.list.begin(), effects.list.end(), [](const auto& effect) {
    const auto* announce = std::get_if<core::Announce>(&effect);
    return announce != nullptr && announce->record.kind == core::EventKind::agent && announce->record.what == "failed";
  }));
}

struct SilenceCost {
  std::vector<double> quiet_step_ns;  // Each step in which nothing changed.
  std::vector<double> failed_ns;      // An agent that falls silent, from its last beat to `failed`.
};

// Most agents beat once an hour; the first thousand each second, and then no more, as often as there are runs.
SilenceCost measure_silence(std::uint32_t agents, const Options& options) {
  constexpr std::size_t kFailing = 1'000;
  core::Engine engine(watch_only(), options.seed);
  core::Effects effects;
  std::vector<std::string> ids;
  for (std::uint32_t agent = 0; agent < agents; ++agent) ids.push_back(Fleet::id_of(agent));
  Instant now = kStart;
  for (std::size_t i = 0; i < ids.size(); i += kBeatsPerStep) {
    const std::size_t count = std::min(kBeatsPerStep, ids.size() - i);
    step_with(engine, now += 1ms, std::span(ids).subspan(i, count), 1, 1h, effects);
  }
  SilenceCost cost;
  const auto step = [&](Instant end) {
    now = std::min(end, engine.next_wakeup());
    const double before = thread_cpu_ns();
    engine.step(at(now), {}, effects);
    return thread_cpu_ns() - before;
  };
  // A checkpoint falls into these 25 s and finds the chunks that were heard; later ones find nothing.
  for (const Instant end = now + 25s; now < end;) cost.quiet_step_ns.push_back(step(end));
  for (unsigned run = 0; run < options.runs; ++run) {
    step_with(engine, now += 1ms, std::span(ids).first(kFailing), 2 + run, 1s, effects);
    std::size_t failed = 0;
    double spent_ns = 0;
    for (const Instant end = now + 5s; now < end;) {
      spent_ns += step(end);
      failed += failures(effects);
    }
    if (failed != kFailing) give_up(fmt::format("{} of {} agents failed", failed, kFailing));
    cost.failed_ns.push_back(spent_ns / kFailing);
  }
  return cost;
}

// ---- Lateness --------------------------------------------------------------------------------------

// ms between each deadline and the step that told of it: agents beat every 30 s, one in a hundred falls silent.
std::vector<double> measure_lateness(std::uint32_t agents, std::uint64_t seed) {
  const Fleet fleet(agents, seed);
  core::Engine engine(watch_only(), seed);
  core::Effects effects;
  std::vector<std::string> ids;
  for (std::uint32_t agent = 0; agent < agents; ++agent) ids.push_back(Fleet::id_of(agent));
  std::vector<Instant> heard(agents);
  std::vector<double> late_ms;
  const auto note = [&](Instant now) {
    for (const core::Effect& effect : effects.list) {
      const auto* announce = std::get_if<core::Announce>(&effect);
      if (announce == nullptr || announce->record.what != "failed") continue;
      if (announce->record.kind != core::EventKind::agent) continue;
      const auto agent = static_cast<std::size_t>(std::stoul(announce->record.agent_id.substr(7)));
      const Instant deadline = heard[agent] + 3 * kInterval + core::jitter_grace(kInterval);
      late_ms.push_back(static_cast<double>((now - deadline).count()) / 1e6);
    }
  };
  Instant now = kStart;
  std::vector<core::Event> events;
  const std::uint64_t last_beat = std::uint64_t{agents} * 6;
  for (std::uint64_t sent = 0; sent < last_beat;) {
    const Instant beats_at = now + pace_of(agents);
    for (Instant wake_up = engine.next_wakeup(); wake_up < beats_at && sent > 0; wake_up = engine.next_wakeup()) {
      now = std::max(now, wake_up);
      engine.step(at(now), {}, effects);
      note(now);
    }
    now = beats_at;
    events.clear();
    for (const std::uint64_t end = std::min(last_beat, sent + kBeatsPerStep); sent < end; ++sent) {
      const std::uint32_t agent = fleet.agent_at(sent);
      if (agent % 100 == 0 && fleet.round_of(sent) > 1) continue;
      heard[agent] = now;
      events.push_back(plain_beat(ids[agent], fleet.round_of(sent) + 1, kInterval));
    }
    engine.step(at(now), events, effects);
    note(now);
  }
  if (late_ms.size() != agents / 100) give_up(fmt::format("{} agents failed", late_ms.size()));
  return late_ms;
}

}  // namespace

void bench_memory(Report& report) {
  progress(fmt::format("memory: {} agents", kLarge));
  const Fleet fleet(kLarge, report.options().seed);
  const double engine = rss_growth(kLarge, [&] {
    auto monitor = std::make_unique<Monitor>(report.options().seed);
    for (int round = 0; round < 2; ++round) {
      send(*monitor, fleet, static_cast<std::uint64_t>(round) * kLarge, kLarge, pace_of(kLarge));
    }
    return monitor;
  });
  const double bare = rss_growth(kLarge, [&] {
    auto loop = std::make_unique<BareLoop>(kLarge);
    send_bare(*loop, fleet, 0, kLarge);
    return loop;
  });
  report.add(
      {"memory.engine.1m", "RSS an agent; metrics, task and instance kept", "bytes", {engine}, Better::lower, 300});
  report.add({"memory.bare.1m", "RSS an agent of the bare loop, which keeps the same", "bytes", {bare}});
  report.add_ratio("memory.engine_vs_bare.1m", "the engine's memory against the bare loop's", {engine}, {bare});
}

void bench_beats(Report& report) {
  bench_beats(report, kSmall, "10k", 200'000);
  bench_beats(report, kLarge, "1m", 200'000);
}

void bench_silence(Report& report) {
  progress("silence: 10,000 and 1,000,000 agents");
  const SilenceCost small = measure_silence(kSmall, report.options());
  const SilenceCost large = measure_silence(kLarge, report.options());
  report.add({"silence.quiet_step.10k", "a step in which nothing happens, 10,000 agents", "ns", small.quiet_step_ns});
  report.add({"silence.quiet_step.1m", "the same, 1,000,000 agents", "ns", large.quiet_step_ns});
  report.add({"silence.worst_step.1m",
              "the worst of these: the one checkpoint",
              "ms",
              {percentile(large.quiet_step_ns, 100) / 1e6}});
  report.add({"silence.failed.10k", "an agent that fails, 1,000 of 10,000", "ns", small.failed_ns});
  report.add({"silence.failed.1m", "an agent that fails, 1,000 of 1,000,000", "ns", large.failed_ns});
  report.add_ratio("silence.failed_1m_vs_10k", "cost of a failure in the large fleet against the small one",
                   large.failed_ns, small.failed_ns);
}

void bench_lateness(Report& report) {
  progress("lateness: 100,000 agents");
  const std::vector<double> late_ms = measure_lateness(100'000, report.options().seed);
  report.add({"lateness.engine.100k", "`failed` behind its deadline, 100,000 agents beating, engine alone", "ms",
              late_ms, Better::lower, 1});
}

}  // namespace defib::bench
