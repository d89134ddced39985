#include "testing/scenario.h"

#include <array>
#include <cstdio>
#include <fmt/format.h>
#include <memory>
#include <utility>

#include "base/text.h"
#include "testing/print.h"
#include "testing/scenario_rules.h"
#include "testing/stage.h"
#include "testing/words.h"

namespace defib::stage {
namespace {

constexpr std::string_view kRule = "----";

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

template <typename Enum>
Enum pick(Words& words, std::string_view key, Enum last, Enum otherwise) {
  const auto value = words.maybe_text(key);
  if (!value) return otherwise;
  for (int i = 0; i <= static_cast<int>(last); ++i) {
    if (name(static_cast<Enum>(i)) == *value) return static_cast<Enum>(i);
  }
  words.complain(fmt::format("{}={} is none of its names", key, *value));
  return otherwise;
}

core::Source source_of(Words& words, core::Source otherwise) {
  return pick(words, "source", core::Source::redis, otherwise);
}

BeatSpec beat_spec(Words& words) {
  BeatSpec spec;
  spec.agent = words.word(0);
  spec.type = words.text("type");
  spec.instance = words.text("instance");
  spec.host = words.text("host");
  spec.pid = words.number("pid", 0);
  spec.source = source_of(words, core::Source::endpoint);
  spec.connection = static_cast<std::uint64_t>(words.number("conn", 0));
  if (const auto sequence = words.maybe_text("seq")) {
    spec.has_sequence = *sequence != "none";
    if (spec.has_sequence) spec.sequence = static_cast<std::uint64_t>(words.number("seq", 0));
  }
  if (const auto skew = words.maybe_text("clock")) {
    spec.has_timestamp = *skew != "none";
    if (spec.has_timestamp) spec.skew_ms = to_ms(words.duration("clock", 0s));
  }
  spec.status = pick(words, "status", core::Status::stopped, core::Status::healthy);
  spec.interval = words.maybe_duration("interval");
  spec.task = words.maybe_text("task");
  if (const auto progress = words.maybe_number("progress")) spec.task_progress = static_cast<double>(*progress);
  if (words.maybe_text("activity")) {
    spec.activity = pick(words, "activity", core::ActivityKind::draining, core::ActivityKind::working);
  }
  if (const auto label = words.maybe_text("label")) {
    const std::size_t colon = label->find(':');
    spec.labels.emplace_back(label->substr(0, colon), colon == std::string::npos ? "" : label->substr(colon + 1));
  }
  spec.capsule = words.text("capsule");
  spec.refusal = words.text("refusal");
  spec.is_runner = words.has_flag("runner");
  return spec;
}

// Runs the commands of one file.
class Player {
 public:
  // Runs one command; its output comes from take_output(). Returns what is wrong with it, or "".
  std::string run(const std::string& line);
  std::string take_output();

 private:
  using Command = void (Player::*)(Words&);
  struct Verb {
    std::string_view name;
    Command command;
  };
  static constexpr std::size_t kVerbCount = 30;
  static const std::array<Verb, kVerbCount>& verbs();

  // The stage stands from the first command that is no rule on.
  Stage& stage();
  void say(const std::string& text) { output_ += text + "\n"; }

  void do_beat(Words& words) { stage().beat(beat_spec(words)); }
  void do_ping(Words& words);
  void do_heart(Words& words);
  void do_exit(Words& words);
  void do_register(Words& words) { write_record(words, false); }
  void do_goodbye(Words& words) { write_record(words, true); }
  void write_record(Words& words, bool is_goodbye);
  void do_fail(Words& words);
  void do_deregister(Words& words);
  void do_advance(Words& words) { stage().advance(words.duration_word(0)); }
  void do_jump(Words& words) { stage().jump(words.duration_word(0)); }
  void do_crash(Words& words) { stage().crash(words.duration("down", 1s)); }
  void do_wallclock(Words& words) { stage().step_wall_clock(words.duration_word(0)); }
  void do_blind(Words& words);
  void do_sight(Words& words);
  void do_finish(Words& words);
  void do_persist(Words& words);
  void do_journal(Words& words);
  void do_deliver(Words& words);
  void do_recover(Words& words);
  void do_ack(Words& words) { ask_about_incident(words, core::Wish::acknowledge); }
  void do_close(Words& words) { ask_about_incident(words, core::Wish::close); }
  void ask_about_incident(Words& words, core::Wish wish);
  void do_end_guard(Words&) {
    stage().give(core::OperatorAsked{.request = 1, .wish = core::Wish::end_guard, .who = "ann"});
  }
  void do_reload(Words&) { stage().change_rules(rules_); }
  void do_status(Words& words);
  void do_why(Words& words);
  void do_incidents(Words& words);
  void do_counts(Words&);
  void do_counters(Words&) { say(print(stage().engine().counters())); }
  void do_sources(Words&);
  void do_next(Words&);

  core::Rules rules_;
  std::unique_ptr<Stage> stage_;
  std::string output_;
};

const std::array<Player::Verb, Player::kVerbCount>& Player::verbs() {
  static constexpr std::array<Verb, kVerbCount> kVerbs = {
      {{"beat", &Player::do_beat},         {"ping", &Player::do_ping},
       {"heart", &Player::do_heart},       {"exit", &Player::do_exit},
       {"register", &Player::do_register}, {"goodbye", &Player::do_goodbye},
       {"fail", &Player::do_fail},         {"deregister", &Player::do_deregister},
       {"advance", &Player::do_advance},   {"jump", &Player::do_jump},
       {"crash", &Player::do_crash},       {"wallclock", &Player::do_wallclock},
       {"blind", &Player::do_blind},       {"sight", &Player::do_sight},
       {"finish", &Player::do_finish},     {"persist", &Player::do_persist},
       {"journal", &Player::do_journal},   {"deliver", &Player::do_deliver},
       {"recover", &Player::do_recover},   {"ack", &Player::do_ack},
       {"close", &Player::do_close},       {"end-guard", &Player::do_end_guard},
       {"reload", &Player::do_reload},     {"status", &Player::do_status},
       {"why", &Player::do_why},           {"incidents", &Player::do_incidents},
       {"counts", &Player::do_counts},     {"counters", &Player::do_counters},
       {"sources", &Player::do_sources},   {"next", &Player::do_next}}};
  return kVerbs;
}

std::string Player::run(const std::string& line) {
  Result<Words> parsed = Words::parse(line);
  if (!parsed) return parsed.error();
  Words& words = parsed.value();
  if (change_rules(words, rules_)) return words.mistake();
  for (const Verb& verb : verbs()) {
    if (verb.name != words.verb()) continue;
    (this->*verb.command)(words);
    return words.mistake();
  }
  return fmt::format("there is no command \"{}\"", words.verb());
}

std::string Player::take_output() {
  const std::string log = stage_ ? stage_->take_log() : "";
  return log + std::exchange(output_, {});
}

Stage& Player::stage() {
  if (!stage_) stage_ = std::make_unique<Stage>(rules_);
  return *stage_;
}

// A ping has no instance, no sequence and no clock of its own.
void Player::do_ping(Words& words) {
  BeatSpec spec = beat_spec(words);
  spec.source = core::Source::http;
  spec.has_sequence = false;
  spec.has_timestamp = false;
  stage().beat(spec);
}

void Player::do_heart(Words& words) {
  if (words.has_flag("ping")) words.complain("a heart beats, it does not ping");
  const BeatSpec spec = beat_spec(words);
  if (words.word(1) == "off") {
    stage().heart(spec, std::nullopt);
    return;
  }
  if (words.word(1) != "every") words.complain("heart AGENT every DURATION, or heart AGENT off");
  const Duration every = words.duration_word(2);
  if (every <= 0s) return words.complain("a heart needs a time between its beats");
  stage().heart(spec, every);
}

void Player::do_exit(Words& words) {
  BeatSpec spec = beat_spec(words);
  spec.is_runner = true;
  spec.exit = BeatSpec::ExitSpec{.code = static_cast<int>(words.number("code", 0)),
                                 .signal = static_cast<int>(words.number("signal", 0)),
                                 .output_tail = words.text("tail"),
                                 .is_restarted = words.has_flag("restarted"),
                                 .spent = static_cast<std::uint32_t>(words.number("spent", 0))};
  stage().beat(spec);
}

// `registered=` and `stopped=` are offsets to the stage's wall clock, as a client of that clock writes.
void Player::write_record(Words& words, bool is_goodbye) {
  const std::string agent = words.word(0);
  const std::string type = words.text("type");
  const std::string host = words.text("host");
  const std::int64_t wall = to_ms(stage().wall());
  core::RecordWritten record{.source = source_of(words, core::Source::endpoint),
                             .agent_id = agent,
                             .type = type,
                             .host = host,
                             .pid = words.number("pid", 0),
                             .connection = static_cast<std::uint64_t>(words.number("conn", 0))};
  if (is_goodbye) {
    record.stopped_at_ms = wall + to_ms(words.duration("stopped", 0s));
    if (const auto at = words.maybe_duration("registered")) record.registered_at_ms = wall + to_ms(*at);
  } else {
    record.registered_at_ms = wall + to_ms(words.duration("registered", 0s));
    if (const auto at = words.maybe_duration("stopped")) record.stopped_at_ms = wall + to_ms(*at);
  }
  stage().give(record);
}

void Player::do_fail(Words& words) {
  const std::string agent = words.word(0);
  const std::string detail = words.plain_count() > 1 ? words.word(1) : "";
  stage().give(
      core::FailureReported{.source = source_of(words, core::Source::http), .agent_id = agent, .detail = detail});
}

void Player::do_deregister(Words& words) {
  const std::string agent = words.word(0);
  stage().give(core::Deregistered{agent});
}

void Player::do_blind(Words& words) {
  const Instant since = stage().now() - words.duration("since", 0s);
  stage().give(core::SourceBlind{source_of(words, core::Source::redis), since, "no canary came back"});
}

void Player::do_sight(Words& words) {
  stage().give(core::SourceSighted{source_of(words, core::Source::redis), words.has_flag("restarted")});
}

void Player::do_finish(Words& words) {
  const std::string which = words.word(0);
  const std::size_t dot = which.find('.');
  unsigned long incident = 0;
  unsigned long attempt = 0;
  if (dot == std::string::npos || std::sscanf(which.c_str(), "%lu.%lu", &incident, &attempt) != 2) {
    return words.complain("finish INCIDENT.ATTEMPT done|failed|refused \"detail\"");
  }
  const std::string how = words.word(1);
  const std::string detail = words.plain_count() > 2 ? words.word(2) : "";
  core::ActionFinished end{.incident = incident, .attempt = static_cast<std::uint32_t>(attempt), .detail = detail};
  end.end = how == "failed"    ? core::ActionEnd::failed
            : how == "refused" ? core::ActionEnd::refused
                               : core::ActionEnd::done;
  if (how != "done" && how != "failed" && how != "refused") words.complain("an action ends done, failed or refused");
  stage().give(end);
}

void Player::do_persist(Words& words) {
  const std::string how = words.word(0);
  if (how == "next") {
    if (!stage().persist_next()) say("nothing waits for the journal");
  } else if (how == "on" || how == "off") {
    stage().set_auto_persist(how == "on");
  } else {
    words.complain("persist on|off|next");
  }
}

void Player::do_journal(Words& words) {
  const std::string how = words.word(0);
  if (how != "broken" && how != "ok") return words.complain("journal broken|ok");
  stage().set_journal_writable(how == "ok");
}

void Player::do_deliver(Words& words) {
  const std::string which = words.word(0);
  if (which == "on" || which == "off") return stage().set_auto_deliver(which == "on");
  core::Delivered end{.notice = static_cast<core::NoticeId>(words.number_word(0))};
  const std::string how = words.word(1);
  end.end = how == "later"     ? core::DeliveryEnd::retry_later
            : how == "refused" ? core::DeliveryEnd::refused
                               : core::DeliveryEnd::done;
  if (how != "later" && how != "refused" && how != "done") words.complain("deliver NOTICE done|later|refused");
  const std::string detail = words.plain_count() > 2 ? words.word(2) : "";
  end.detail = detail;
  end.retry_after = words.duration("after", 0s);
  stage().give(end);
}

void Player::do_recover(Words& words) {
  const std::string agent = words.word(0);
  stage().give(core::OperatorAsked{
      .request = 1, .wish = core::Wish::recover, .agent_id = agent, .force = words.has_flag("force"), .who = "ann"});
}

void Player::ask_about_incident(Words& words, core::Wish wish) {
  const auto incident = static_cast<core::IncidentId>(words.number_word(0));
  stage().give(core::OperatorAsked{.request = 1, .wish = wish, .incident = incident, .who = "ann"});
}

void Player::do_status(Words& words) {
  const Stage& there = stage();
  if (words.plain_count() > 0) {
    const auto agent = there.engine().agent(there.now(), words.word(0));
    return say(agent ? print(*agent) : "no such agent");
  }
  const auto rest = there.engine().list_agents(there.now(), {}, 0, 1'000'000,
                                               [&](const core::AgentView& agent) { say(print(agent)); });
  if (rest) words.complain("more agents than a scenario should have");
}

void Player::do_why(Words& words) {
  const auto why = stage().engine().why(stage().now(), words.word(0));
  say(why ? print(*why) : "no such agent");
}

void Player::do_incidents(Words& words) {
  std::optional<bool> open;
  if (words.has_flag("open")) open = true;
  const auto found = stage().engine().incidents(open, 0, 100);
  if (found.empty()) say("no incidents");
  for (const core::Incident& incident : found) say(print(incident));
}

void Player::do_counts(Words&) {
  std::string line;
  const auto counts = stage().engine().counts();
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] != 0) line += fmt::format("{} {} ", counts[i], name(static_cast<core::State>(i)));
  }
  if (!line.empty()) line.pop_back();
  say(line.empty() ? "no agents" : line);
}

void Player::do_sources(Words&) {
  for (const core::SourceView& source : stage().engine().sources()) say(print(source));
  say(fmt::format("journal {}", stage().engine().is_journal_writable() ? "writable" : "not writable"));
  const std::string guard = stage().engine().guard_reason();
  say(guard.empty() ? "guard holds nothing" : "guard: " + guard);
}

void Player::do_next(Words&) {
  const Instant next = stage().engine().next_wakeup();
  say(next == kNever ? "next wake-up never" : "next wake-up in " + format_duration(next - stage().now()));
}

bool is_command(const std::string& line) { return !line.empty() && line.front() != '#'; }

}  // namespace

Result<std::vector<Block>> parse_scenario(std::string_view text) {
  std::vector<Block> blocks;
  Block block;
  bool is_below = false;
  int number = 0;
  for (const std::string& line : split_lines(text)) {
    ++number;
    if (is_below) {
      if (line.empty()) {
        blocks.push_back(std::exchange(block, {}));
        is_below = false;
      } else {
        block.expected += line + "\n";
      }
      continue;
    }
    if (block.text.empty()) {
      if (line.empty()) continue;
      block.line = number;
    }
    if (line == kRule) {
      is_below = true;
    } else {
      block.text.push_back(line);
    }
  }
  if (is_below) {
    blocks.push_back(std::move(block));
  } else if (!block.text.empty()) {
    return Error{fmt::format("line {}: the block has no line of dashes", block.line)};
  }
  return blocks;
}

Result<std::string> run_scenario(std::string_view text) {
  Result<std::vector<Block>> blocks = parse_scenario(text);
  if (!blocks) return Error{blocks.error()};
  Player player;
  std::string rewritten;
  for (const Block& block : blocks.value()) {
    std::string output;
    int number = block.line;
    for (const std::string& line : block.text) {
      rewritten += line + "\n";
      if (is_command(line)) {
        const std::string mistake = player.run(line);
        if (!mistake.empty()) return Error{fmt::format("line {}: {}: {}", number, line, mistake)};
        output += player.take_output();
      }
      ++number;
    }
    rewritten += fmt::format("{}\n{}\n", kRule, output.empty() ? "ok\n" : output);
  }
  if (!rewritten.empty()) rewritten.pop_back();
  return rewritten;
}

}  // namespace defib::stage
