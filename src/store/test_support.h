// What the tests of this room share: a directory that goes away, a loop that turns until something is
// so, and one record of each kind with every field set.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include "core/effect.h"
#include "net/loop.h"
#include "store/journal.h"

namespace defib::store {

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "defib-store-XXXXXX").string();
    DEFIB_CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string data_dir() const { return (path_ / "data").string(); }
  std::string file() const { return (path_ / "data" / "journal.db").string(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_bytes(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// Turns the loop until `is_so`, or for 20 s at most; says whether it is so.
inline bool turn_until(net::Loop& loop, const std::function<bool()>& is_so) {
  const Instant end = net::read_steady() + 20s;
  loop.run([&] {
    if (is_so() || net::read_steady() >= end) loop.stop();
    return net::read_steady() + 5ms;
  });
  return is_so();
}

// A journal with what it told.
struct Opened {
  net::Loop loop;
  std::vector<core::PersistToken> persisted;
  std::vector<std::pair<bool, std::string>> writable;
  std::string error;
  std::unique_ptr<Journal> journal;
  core::Snapshot snapshot;

  explicit Opened(JournalOptions options, std::pair<Instant, WallTime> now = {net::read_steady(), net::read_wall()}) {
    JournalCallbacks callbacks{
        .persisted = [this](core::PersistToken token) { persisted.push_back(token); },
        .writable = [this](bool is, std::string reason) { writable.emplace_back(is, std::move(reason)); }};
    Result<std::unique_ptr<Journal>> opened = Journal::open(loop, std::move(options), std::move(callbacks));
    if (!opened.ok()) {
      error = opened.error();
      return;
    }
    journal = std::move(opened).value();
    Result<core::Snapshot> restored = journal->restore(now.first, now.second);
    if (restored.ok()) {
      snapshot = std::move(restored).value();
    } else {
      error = restored.error();
    }
  }
  explicit Opened(const std::string& data_dir) : Opened(JournalOptions{.data_dir = data_dir}) {}

  void write(core::Record record, core::PersistToken token = 0) { journal->write({token, std::move(record)}); }
  // Forgets nobody, with a token, and waits for it: then everything before it is on disk.
  bool settle() {
    const core::PersistToken token = 1'000'000'000 + persisted.size();
    write(core::AgentForgotten{.key = UINT32_MAX, .id = "nobody"}, token);
    return turn_until(loop, [&] { return !persisted.empty() && persisted.back() == token; });
  }
};

inline core::AgentRecord full_agent(core::AgentKey key, const std::string& id) {
  core::AgentRecord r;
  r.key = key;
  r.id = id;
  r.type = "planner";
  r.host = "host-1";
  r.pid = 4711;
  r.instance_id = "i-9";
  r.registered_at_ms = 1'700'000'000'001;
  r.started_at_ms = 1'700'000'000'002;
  r.timestamp_ms = -3;
  r.sequence = UINT64_MAX;
  r.interval_ms = 12'345;
  r.has_own_interval = true;
  r.is_runner = true;
  r.source = core::Source::redis;
  r.state = core::State::stalled;
  r.state_since = Instant(11s);
  r.registered = Instant(12s);
  r.last_heard = Instant(13s);
  r.last_heard_wall = wall_from_ms(1'700'000'000'003);
  r.first_heard_wall = wall_from_ms(1'700'000'000'004);
  r.has_beaten = true;
  r.is_ended = true;
  r.current_task = "write \"the\" plan \xF0\x9F\x93\x9D \xff\xfe\n";
  r.task_progress = 100.0 / 3;
  r.capsule = std::string("\0\1\xff capsule", 12);
  r.labels = {{"zone", "a"}, {"empty", ""}};
  r.past = {{"i-7", 70, false}, {"", 80, true}};
  return r;
}

inline core::Incident full_incident(core::IncidentId id) {
  core::Incident r;
  r.id = id;
  r.agent_id = "a-1";
  r.verdict = core::Verdict::reported_failure;
  r.evidence = "no beat for 93 s";
  r.output_tail = std::string("trace\0back \x80", 12);
  r.phase = core::Phase::backing_off;
  r.phase_reason = "5 s after the first attempt";
  // Not so long ago that it would be removed.
  r.opened_at = wall_from_ms(4'000'000'100'000);
  r.closed_at = wall_from_ms(4'000'000'200'000);
  r.outcome = "self, restart did not take";
  r.attempts = {{1, 0, core::StepKind::restart, "exec", wall_from_ms(5), core::AttemptResult::failed, "exit 1"},
                {2, 1, core::StepKind::replace, "docker", wall_from_ms(6), core::AttemptResult::pending, ""}};
  r.is_acknowledged = true;
  r.instance_id = "i-9";
  return r;
}

inline core::NoticeRecord full_notice(core::NoticeId id) {
  core::NoticeRecord r;
  r.id = id;
  r.channel = "oncall";
  r.status = core::NoticeStatus::resolved;
  r.incident = 7;
  r.severity = "critical";
  r.message = "a-1 failed";
  r.action_required = "look at it";
  r.agent_id = "a-1";
  r.last_heartbeat = wall_from_ms(1'700'000'000'005);
  r.created_at = wall_from_ms(1'700'000'000'006);
  return r;
}

inline core::HistoryRecord full_line(core::EventId id) {
  return {id, wall_from_ms(to_ms(net::read_wall())), core::EventKind::attempt, "a-1", 7, "verified", "a beat \xff"};
}

}  // namespace defib::store
