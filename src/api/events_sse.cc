#include "api/events_sse.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <utility>

#include <boost/json.hpp>

#include "wire/json_views.h"

namespace defib::api {

EventFeed::EventFeed(ReadHistory read_history, core::EventId newest)
    : read_history_(std::move(read_history)), newest_(newest) {}

bool EventFeed::open(net::HttpExchange& exchange, core::EventId after, Instant now) {
  if (readers_.size() >= kReadersMax) {
    std::erase_if(readers_, [](const Reader& reader) { return !reader.stream->is_open(); });
    if (readers_.size() >= kReadersMax) return false;
  }
  Reader reader;
  reader.stream = exchange.start_event_stream();
  if (!reader.stream) return true;  // It has gone already.
  // An id that we never gave comes from another journal: whatever happens from now on is news.
  reader.sent = std::min(after, newest_);
  reader.next_ping = now + kPingEvery;
  // At once, so that the reader knows that it is connected; and how long it may wait before it returns.
  if (reader.stream->send("retry: 2000\n: defib\n\n")) readers_.push_back(std::move(reader));
  plan(now);
  return true;
}

void EventFeed::on_announce(const core::HistoryRecord& record) {
  if (record.id <= newest_) return;
  // A gap between two ids would break the arithmetic of recent_, so start it anew.
  if (!recent_.empty() && record.id != newest_ + 1) recent_.clear();
  newest_ = record.id;
  recent_.push_back(make_line(record));
  if (recent_.size() > kRecentMax) recent_.pop_front();
  has_work_ = !readers_.empty();
}

void EventFeed::on_turn(Instant now) {
  if (!has_work_ && now < next_wakeup_) return;
  std::size_t lines_left = kLinesPerTurn;
  for (std::size_t i = readers_.size(); i > 0 && lines_left > 0; --i) {
    // Each goes to the end of the line once it was served, so that none is forgotten when lines run out.
    Reader reader = std::move(readers_.front());
    readers_.pop_front();
    lines_left -= advance(reader, now, std::min(lines_left, kLinesPerReader));
    if (now >= reader.next_ping && reader.stream->send(": ping\n\n")) reader.next_ping = now + kPingEvery;
    if (reader.stream->is_open()) readers_.push_back(std::move(reader));
  }
  plan(now);
}

std::size_t EventFeed::advance(Reader& reader, Instant now, std::size_t limit) {
  if (reader.sent >= newest_ || now < reader.next_try) return 0;
  const std::vector<Line> lines = lines_after(reader.sent, limit);
  if (lines.empty()) {
    wait_for_journal(reader, now);
    return 0;
  }
  reader.waits_since = kNever;
  std::string out;
  for (const Line& line : lines) {
    fmt::format_to(std::back_inserter(out), "id: {}\nevent: {}\ndata: {}\n\n", line.id, core::name(line.kind),
                   line.json);
  }
  reader.sent = lines.back().id;
  reader.next_ping = now + kPingEvery;
  reader.stream->send(std::move(out));
  return lines.size();
}

void EventFeed::wait_for_journal(Reader& reader, Instant now) {
  if (reader.waits_since == kNever) reader.waits_since = now;
  if (now - reader.waits_since < kGapPatience) {
    reader.next_try = now + kRetryAfter;
    return;
  }
  const core::EventId next = recent_.empty() ? newest_ + 1 : recent_.front().id;
  reader.stream->send(fmt::format(": events {} to {} are not kept\n\n", reader.sent + 1, next - 1));
  reader.sent = next - 1;
  reader.waits_since = kNever;
}

void EventFeed::plan(Instant now) {
  has_work_ = false;
  next_wakeup_ = kNever;
  for (const Reader& reader : readers_) {
    const bool is_behind = reader.sent < newest_;
    has_work_ = has_work_ || (is_behind && reader.next_try <= now);
    next_wakeup_ = std::min({next_wakeup_, reader.next_ping, is_behind ? reader.next_try : kNever});
  }
}

std::vector<std::string> EventFeed::read(core::EventId after, std::size_t limit) const {
  std::vector<std::string> out;
  while (out.size() < limit && after < newest_) {
    std::vector<Line> lines = lines_after(after, limit - out.size());
    if (lines.empty() && !recent_.empty() && after + 1 < recent_.front().id) {
      after = recent_.front().id - 1;
      continue;
    }
    if (lines.empty()) break;
    after = lines.back().id;
    for (Line& line : lines) out.push_back(std::move(line.json));
  }
  return out;
}

EventFeed::Line EventFeed::make_line(const core::HistoryRecord& record) {
  return {record.id, record.kind, boost::json::serialize(wire::history_json(record))};
}

bool EventFeed::is_in_recent(core::EventId after) const { return !recent_.empty() && after + 1 >= recent_.front().id; }

std::vector<EventFeed::Line> EventFeed::lines_after(core::EventId after, std::size_t limit) const {
  std::vector<Line> lines;
  if (is_in_recent(after)) {
    const auto skipped = static_cast<std::ptrdiff_t>(after + 1 - recent_.front().id);
    const auto left = static_cast<std::ptrdiff_t>(recent_.size()) - skipped;
    const auto first = recent_.begin() + skipped;
    std::copy_n(first, std::min(left, static_cast<std::ptrdiff_t>(limit)), std::back_inserter(lines));
    return lines;
  }
  for (const core::HistoryRecord& record : read_history_(after, limit)) lines.push_back(make_line(record));
  return lines;
}

}  // namespace defib::api
