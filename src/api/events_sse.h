// /v1/events: history as server-sent events, without gap or repetition, from any id on.
//
// Every reader is a position in history. A turn sends each a bounded number of the lines behind its
// position: from a ring of the newest lines in memory, or, for what is older, from the journal. A burst of
// a hundred thousand lines or a reader who asks for last month thus costs a turn no more than a trickle.
// The journal writes behind: where it does not hold yet what the ring no longer holds, a reader waits a
// little; what is missing still after kGapPatience is gone (dropped or past its keeping) and is told as such.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/time.h"
#include "core/effect.h"
#include "net/http_server.h"

namespace defib::api {

using ReadHistory = std::function<std::vector<core::HistoryRecord>(core::EventId after, std::size_t limit)>;

class EventFeed {
 public:
  static constexpr std::size_t kReadersMax = 256;
  static constexpr std::size_t kRecentMax = 4096;      // Lines in memory, about 300 bytes each.
  static constexpr std::size_t kLinesPerReader = 200;  // A turn; about 60 KB of a stream's 1 MiB queue.
  static constexpr std::size_t kLinesPerTurn = 1000;   // Over all readers.
  static constexpr Duration kPingEvery = 15s;          // Proxies cut what is silent for 30 s or 60 s.
  static constexpr Duration kRetryAfter = 50ms;        // A journal's batch is written in about that.
  static constexpr Duration kGapPatience = 10s;

  // `newest` is the id of the last line that history holds.
  EventFeed(ReadHistory read_history, core::EventId newest);

  // Starts the stream with the first line after `after`. False, and nothing is started, where kReadersMax follow.
  bool open(net::HttpExchange& exchange, core::EventId after, Instant now);
  void on_announce(const core::HistoryRecord& record);
  // Sends what is due. has_work() is then true where another turn is wanted at once, else next_wakeup() says when.
  void on_turn(Instant now);
  bool has_work() const { return has_work_; }
  Instant next_wakeup() const { return next_wakeup_; }

  core::EventId newest() const { return newest_; }
  std::size_t readers() const { return readers_.size(); }
  // The lines after `after`, oldest first, at most `limit`, as JSON objects. Fewer do not mean the end.
  std::vector<std::string> read(core::EventId after, std::size_t limit) const;

 private:
  struct Line {
    core::EventId id = 0;
    core::EventKind kind = core::EventKind::agent;
    std::string json;
  };
  struct Reader {
    std::shared_ptr<net::EventStream> stream;
    core::EventId sent = 0;
    Instant next_ping{};
    Instant next_try{};            // While it waits for the journal.
    Instant waits_since = kNever;  // kNever: it does not.
  };

  static Line make_line(const core::HistoryRecord& record);
  bool is_in_recent(core::EventId after) const;
  std::vector<Line> lines_after(core::EventId after, std::size_t limit) const;
  // Returns how many lines went out; closes the reader's stream where it can't keep up.
  std::size_t advance(Reader& reader, Instant now, std::size_t limit);
  void wait_for_journal(Reader& reader, Instant now);
  void plan(Instant now);

  ReadHistory read_history_;
  core::EventId newest_;
  std::deque<Line> recent_;     // Ids rise by one; the last is newest_.
  std::deque<Reader> readers_;  // The first is the first to be served.
  bool has_work_ = false;
  Instant next_wakeup_ = kNever;
};

}  // namespace defib::api
