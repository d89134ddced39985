#include "store/reader.h"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <map>
#include <set>
#include <utility>

namespace defib::store {

namespace {

// Calls `take` for each row; it says false where the row can't be read. The first column names the row.
Done each_row(Database& database, std::string_view sql, const std::function<bool(const Statement&)>& take) {
  Result<Statement> prepared = database.prepare(sql);
  if (!prepared.ok()) return Error{prepared.error()};
  Statement& row = prepared.value();
  while (true) {
    const Result<bool> has_row = row.step();
    if (!has_row.ok()) return Error{has_row.error()};
    if (!has_row.value()) return Unit{};
    if (!take(row)) return Error{fmt::format("row {} of \"{}\" can't be read", row.bytes(0), sql)};
  }
}

using Checkpoints = std::map<std::uint32_t, core::CheckpointChunk>;

Done read_checkpoints(Database& database, JournalScale scale, Checkpoints& out) {
  return each_row(database, "SELECT chunk, entries FROM checkpoints", [&](const Statement& row) {
    return decode(row.bytes(1), scale, out[static_cast<std::uint32_t>(row.integer(0))]);
  });
}

void merge_checkpoint(const Checkpoints& checkpoints, core::AgentRecord& agent) {
  const auto chunk = checkpoints.find(agent.key / core::kCheckpointChunk);
  const std::size_t index = agent.key % core::kCheckpointChunk;
  if (chunk == checkpoints.end() || index >= chunk->second.entries.size()) return;
  core::merge(chunk->second.entries[index], agent);
}

Done read_agents(Database& database, JournalScale scale, const Checkpoints& checkpoints,
                 std::vector<core::AgentRecord>& out) {
  return each_row(database, "SELECT key, id, body, task_progress, capsule FROM agents ORDER BY key",
                  [&](const Statement& row) {
                    core::AgentRecord& agent = out.emplace_back();
                    agent.key = static_cast<core::AgentKey>(row.integer(0));
                    agent.id = row.bytes(1);
                    if (!decode(row.bytes(2), scale, agent)) return false;
                    if (!row.is_null(3)) agent.task_progress = row.real(3);
                    agent.capsule = row.bytes(4);
                    merge_checkpoint(checkpoints, agent);
                    return true;
                  });
}

Done read_incidents(Database& database, std::size_t closed_max, std::vector<core::Incident>& out) {
  const auto take = [&out](const Statement& row) { return decode(row.bytes(1), out.emplace_back()); };
  Done done = each_row(database, "SELECT id, body FROM incidents WHERE closed_ms IS NULL", take);
  if (!done.ok()) return done;
  done = each_row(
      database,
      fmt::format("SELECT id, body FROM incidents WHERE closed_ms IS NOT NULL ORDER BY id DESC LIMIT {}", closed_max),
      take);
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return done;
}

// A grant of an agent that is no longer known is worth nothing.
Done read_grants(Database& database, const std::vector<core::AgentRecord>& agents,
                 std::vector<core::GrantRecord>& out) {
  std::set<std::string_view> ids;
  for (const core::AgentRecord& agent : agents) ids.insert(agent.id);
  return each_row(database, "SELECT agent, instance, restarts, spent FROM grants ORDER BY agent",
                  [&](const Statement& row) {
                    if (!ids.contains(row.bytes(0))) return true;
                    core::GrantRecord& grant = out.emplace_back();
                    grant.agent_id = row.bytes(0);
                    grant.instance_id = row.bytes(1);
                    grant.restarts = static_cast<std::uint32_t>(row.integer(2));
                    grant.spent = static_cast<std::uint32_t>(row.integer(3));
                    return true;
                  });
}

}  // namespace

Result<Meta> read_meta(Database& database) {
  Meta meta;
  const Done done = each_row(
      database,
      "SELECT boot_id, offset_ns, alive_ns, alive_wall_ms, known_until_ns, is_clean_end, last_incident, last_notice, "
      "last_event FROM meta",
      [&meta](const Statement& row) {
        meta.boot_id = row.bytes(0);
        meta.offset_ns = row.integer(1);
        meta.alive_ns = row.integer(2);
        meta.alive_wall_ms = row.integer(3);
        meta.known_until_ns = row.integer(4);
        meta.is_clean_end = row.integer(5) != 0;
        meta.last_incident = static_cast<std::uint64_t>(row.integer(6));
        meta.last_notice = static_cast<std::uint64_t>(row.integer(7));
        meta.last_event = static_cast<std::uint64_t>(row.integer(8));
        return true;
      });
  if (!done.ok()) return Error{done.error()};
  return meta;
}

JournalScale choose_scale(const Meta& meta, const std::string& boot_id, Instant now, WallTime wall) {
  if (meta.boot_id.empty()) return {};
  const JournalScale same{Duration(meta.offset_ns)};
  // A mark in the future is another scale too: a time namespace shifts CLOCK_BOOTTIME within one boot.
  if (boot_id == meta.boot_id && same.from_journal(meta.alive_ns) <= now) return same;
  // A wall clock that is years ahead would overflow; a year without a monitor has outlived every interval.
  const auto downtime = std::clamp(wall - wall_from_ms(meta.alive_wall_ms), WallTime::duration(0),
                                   std::chrono::duration_cast<WallTime::duration>(365 * 24h));
  return {Duration(meta.alive_ns) - (now - downtime).time_since_epoch()};
}

Result<core::Snapshot> read_snapshot(Database& database, const Meta& meta, JournalScale scale, Instant now,
                                     std::size_t closed_incidents_max) {
  core::Snapshot snapshot;
  snapshot.is_first_start = meta.boot_id.empty();
  snapshot.last_incident = meta.last_incident;
  snapshot.last_notice = meta.last_notice;
  snapshot.last_event = meta.last_event;
  Checkpoints checkpoints;
  Done done = read_checkpoints(database, scale, checkpoints);
  if (done.ok()) done = read_agents(database, scale, checkpoints, snapshot.agents);
  if (done.ok()) done = read_incidents(database, closed_incidents_max, snapshot.incidents);
  if (done.ok()) {
    done = each_row(database, "SELECT id, body FROM notices ORDER BY id", [&snapshot](const Statement& row) {
      return decode(row.bytes(1), snapshot.notices.emplace_back());
    });
  }
  if (done.ok()) done = read_grants(database, snapshot.agents, snapshot.grants);
  if (!done.ok()) return Error{done.error()};
  snapshot.known_until = snapshot.is_first_start ? now : std::min(scale.from_journal(meta.known_until_ns), now);
  return snapshot;
}

Done read_history(Database& database, core::EventId after, std::size_t limit, std::vector<core::HistoryRecord>& out) {
  // Ids fit SQLite's signed 64 bits; a client may ask for anything.
  const auto from = std::min<core::EventId>(after, INT64_MAX);
  return each_row(
      database,
      fmt::format("SELECT id, at_ms, kind, agent, incident, what, text FROM history WHERE id > {} ORDER BY id "
                  "LIMIT {}",
                  from, limit),
      [&out](const Statement& row) {
        core::HistoryRecord& line = out.emplace_back();
        line.id = static_cast<core::EventId>(row.integer(0));
        line.at = wall_from_ms(row.integer(1));
        line.agent_id = row.bytes(3);
        line.incident = static_cast<core::IncidentId>(row.integer(4));
        line.what = row.bytes(5);
        line.text = row.bytes(6);
        return parse_name(row.bytes(2), line.kind);
      });
}

}  // namespace defib::store
