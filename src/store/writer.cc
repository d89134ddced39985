#include "store/writer.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>
#include <variant>

namespace defib::store {

namespace {

// A beat that came while the core's step ran is not in its checkpoint. A longer turn is a gap that the core
// knows of itself (rule of judgement 6).
constexpr Duration kTurnMax = 100ms;

}  // namespace

Writer::Writer(Database& database, Meta meta, JournalScale scale, core::Keep keep, std::uint64_t history_max)
    : database_(database), meta_(std::move(meta)), scale_(scale), keep_(keep), history_max_(history_max) {}

Result<std::unique_ptr<Writer>> Writer::make(Database& database, Meta meta, std::string boot_id, JournalScale scale,
                                             core::Keep keep, std::uint64_t history_max) {
  // Not empty, which would read as "nothing was ever written"; and not the id of any boot.
  meta.boot_id = boot_id.empty() ? "unknown" : std::move(boot_id);
  meta.offset_ns = scale.offset.count();
  std::unique_ptr<Writer> writer(new Writer(database, std::move(meta), scale, keep, history_max));
  if (const Done prepared = writer->prepare(); !prepared.ok()) return Error{prepared.error()};
  return writer;
}

Done Writer::prepare() {
  const std::string old_lines = fmt::format(
      "DELETE FROM history WHERE id IN (SELECT id FROM history ORDER BY id LIMIT {}) AND (at_ms < ? OR id <= ?)",
      kRemovedRowsMax);
  const std::string old_incidents = fmt::format(
      "DELETE FROM incidents WHERE id IN (SELECT id FROM incidents WHERE closed_ms < ? LIMIT {})", kRemovedRowsMax);
  const std::pair<Statement*, std::string_view> statements[] = {
      {&put_agent_, "REPLACE INTO agents (key, id, body, task_progress, capsule) VALUES (?, ?, ?, ?, ?)"},
      {&forget_agent_, "DELETE FROM agents WHERE key = ?"},
      {&forget_grant_, "DELETE FROM grants WHERE agent = ?"},
      {&put_incident_, "REPLACE INTO incidents (id, opened_ms, closed_ms, body) VALUES (?, ?, ?, ?)"},
      {&put_notice_, "REPLACE INTO notices (id, body) VALUES (?, ?)"},
      {&remove_notice_, "DELETE FROM notices WHERE id = ?"},
      {&put_grant_, "REPLACE INTO grants (agent, instance, restarts, spent) VALUES (?, ?, ?, ?)"},
      {&put_line_, "REPLACE INTO history (id, at_ms, kind, agent, incident, what, text) VALUES (?, ?, ?, ?, ?, ?, ?)"},
      {&put_checkpoint_, "REPLACE INTO checkpoints (chunk, entries) VALUES (?, ?)"},
      {&put_meta_,
       "UPDATE meta SET boot_id = ?, offset_ns = ?, alive_ns = ?, alive_wall_ms = ?, known_until_ns = ?, "
       "is_clean_end = ?, last_incident = ?, last_notice = ?, last_event = ?"},
      {&remove_lines_, old_lines},
      {&remove_incidents_, old_incidents},
  };
  for (const auto& [statement, sql] : statements) {
    Result<Statement> prepared = database_.prepare(sql);
    if (!prepared.ok()) return Error{prepared.error()};
    *statement = std::move(prepared).value();
  }
  return Unit{};
}

Done Writer::write(const Batch& batch) {
  if (database_.has_moved()) return Error{"the file was moved or deleted while it was open; restart the monitor"};
  const bool is_full = batch.is_clean_end || std::any_of(batch.records->begin(), batch.records->end(),
                                                         [](const Queued& q) { return q.persist.token != 0; });
  if (const Done set = set_synchronous(is_full); !set.ok()) return set;
  if (const Done begun = database_.run("BEGIN IMMEDIATE"); !begun.ok()) return begun;
  Meta meta = next_meta(batch);
  has_more_old_ = false;
  Done done = write_records(batch);
  if (done.ok() && batch.removes_old) done = remove_old(batch.wall, meta);
  if (done.ok()) done = write_meta(meta);
  if (done.ok()) done = database_.run("COMMIT");
  if (done.ok()) {
    if (first_alive_ == Instant{}) first_alive_ = batch.alive;
    meta_ = std::move(meta);
  } else if (database_.is_in_transaction()) {
    // Some errors have rolled back by themselves. Should this fail, the next BEGIN tells.
    static_cast<void>(database_.run("ROLLBACK").ok());
  }
  return done;
}

Done Writer::set_synchronous(bool is_full) {
  if (is_full == is_full_) return Unit{};
  Done set = database_.run(is_full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
  if (set.ok()) is_full_ = is_full;
  return set;
}

Done Writer::write_records(const Batch& batch) {
  for (const Queued& queued : *batch.records) {
    const Done done = std::visit([this](const auto& record) { return put(record); }, queued.persist.record);
    if (!done.ok()) return done;
  }
  return Unit{};
}

Meta Writer::next_meta(const Batch& batch) const {
  Meta meta = meta_;
  meta.alive_ns = scale_.to_journal(batch.alive);
  meta.alive_wall_ms = to_ms(batch.wall);
  meta.is_clean_end = batch.is_clean_end;
  if (meta.known_until_ns == 0) meta.known_until_ns = meta.alive_ns;
  const auto know = [&](Instant until) {
    meta.known_until_ns = std::max(meta.known_until_ns, scale_.to_journal(until));
  };
  // A period without a chunk is one in which nobody was heard; but not one that began before we did.
  const bool had_a_period = first_alive_ != Instant{} && batch.alive - kCheckpointPeriod >= first_alive_;
  if (batch.is_complete && had_a_period) know(batch.alive - kCheckpointPeriod);
  for (const Queued& queued : *batch.records) {
    const core::Record& record = queued.persist.record;
    if (const auto* incident = std::get_if<core::Incident>(&record)) {
      meta.last_incident = std::max(meta.last_incident, incident->id);
    } else if (const auto* notice = std::get_if<core::NoticeRecord>(&record)) {
      meta.last_notice = std::max(meta.last_notice, notice->id);
    } else if (const auto* line = std::get_if<core::HistoryRecord>(&record)) {
      meta.last_event = std::max(meta.last_event, line->id);
    } else if (std::holds_alternative<core::CheckpointChunk>(record)) {
      know(queued.at - kTurnMax);
    }
  }
  return meta;
}

Done Writer::write_meta(const Meta& meta) {
  put_meta_.bind(meta.boot_id).bind(meta.offset_ns).bind(meta.alive_ns).bind(meta.alive_wall_ms);
  put_meta_.bind(meta.known_until_ns).bind(std::int64_t{meta.is_clean_end});
  put_meta_.bind(meta.last_incident).bind(meta.last_notice).bind(meta.last_event);
  return put_meta_.run();
}

Done Writer::remove_old(WallTime wall, const Meta& meta) {
  const auto before = [wall](Duration keep) {
    return to_ms(wall - std::chrono::duration_cast<WallTime::duration>(keep));
  };
  const std::uint64_t surplus =
      history_max_ != 0 && meta.last_event > history_max_ ? meta.last_event - history_max_ : 0;
  remove_lines_.bind(before(keep_.events)).bind(surplus);
  if (Done removed = remove(remove_lines_); !removed.ok()) return removed;
  remove_incidents_.bind(before(keep_.incidents));
  return remove(remove_incidents_);
}

Done Writer::remove(Statement& statement) {
  Done done = statement.run();
  if (done.ok() && database_.changes() >= kRemovedRowsMax) has_more_old_ = true;
  return done;
}

Done Writer::put(const core::AgentRecord& record) {
  const std::string body = encode(record, scale_);
  put_agent_.bind(record.key).bind(record.id).bind_blob(body);
  record.task_progress ? put_agent_.bind(*record.task_progress) : put_agent_.bind_null();
  put_agent_.bind_blob(record.capsule);
  return put_agent_.run();
}

Done Writer::put(const core::AgentForgotten& record) {
  if (Done forgotten = forget_agent_.bind(record.key).run(); !forgotten.ok()) return forgotten;
  return forget_grant_.bind(record.id).run();
}

Done Writer::put(const core::Incident& incident) {
  const std::string body = encode(incident);
  put_incident_.bind(incident.id).bind(to_ms(incident.opened_at));
  incident.closed_at ? put_incident_.bind(to_ms(*incident.closed_at)) : put_incident_.bind_null();
  return put_incident_.bind_blob(body).run();
}

Done Writer::put(const core::NoticeRecord& notice) {
  if (notice.is_done) return remove_notice_.bind(notice.id).run();
  const std::string body = encode(notice);
  return put_notice_.bind(notice.id).bind_blob(body).run();
}

Done Writer::put(const core::GrantRecord& grant) {
  put_grant_.bind(grant.agent_id).bind(grant.instance_id);
  return put_grant_.bind(grant.restarts).bind(grant.spent).run();
}

Done Writer::put(const core::HistoryRecord& line) {
  put_line_.bind(line.id).bind(to_ms(line.at)).bind(core::name(line.kind)).bind(line.agent_id);
  return put_line_.bind(line.incident).bind(line.what).bind_blob(line.text).run();
}

Done Writer::put(const core::CheckpointChunk& chunk) {
  const std::string entries = encode(chunk, scale_);
  return put_checkpoint_.bind(chunk.chunk).bind_blob(entries).run();
}

}  // namespace defib::store
