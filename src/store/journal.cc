#include "store/journal.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/steady_timer.hpp>

#include "net/mailbox.h"
#include "store/backlog.h"
#include "store/data_dir.h"
#include "store/reader.h"
#include "store/schema.h"
#include "store/writer.h"

namespace defib::store {

namespace {

constexpr std::string_view kInMemory = "memory";
// One transaction: large enough to share one sync among a whole turn, small enough (some 10 ms) that a token behind a
// long queue is not kept waiting by it.
constexpr std::size_t kBatchRecordsMax = 1024;
constexpr std::size_t kHistoryLinesMax = 1'000;
// In memory nothing else bounds the history.
constexpr std::uint64_t kMemoryHistoryMax = 100'000;
constexpr auto kTick = std::chrono::seconds(1);
constexpr unsigned kTicksBetweenRemovals = 60;

using Records = std::shared_ptr<const std::vector<Queued>>;

// A failed batch's words; a written one has none.
struct BatchEnd {
  Done done;
  bool has_more_old = false;
};

}  // namespace

// The loop thread owns everything but the writer, which the store thread has from restore() until it is joined. One
// batch is under way at a time; what fails stays here and goes again, so nothing is lost and nothing is reordered.
class Journal::Impl {
 public:
  Impl(net::Loop& loop, JournalOptions options, JournalCallbacks callbacks, DirectoryLock lock, Database database)
      : loop_(loop),
        options_(std::move(options)),
        callbacks_(std::move(callbacks)),
        lock_(std::move(lock)),
        database_(std::move(database)),
        timer_(loop.context()) {}
  ~Impl();

  Result<core::Snapshot> restore(Instant now, WallTime wall);
  void write(core::Persist persist);
  std::vector<core::HistoryRecord> history(core::EventId after, std::size_t limit);
  std::uint64_t dropped() const { return backlog_.dropped(); }

 private:
  bool is_in_memory() const { return options_.data_dir == kInMemory; }
  std::string path() const;
  Done open_reader();

  void flush();
  void hand_over();
  Batch next_batch();
  void take_end();
  void tell_persisted(const Records& records);
  void await_tick();
  void on_tick();
  void write_the_rest();
  void work();  // The store thread.

  // For tasks on the loop that may run after we are gone.
  std::weak_ptr<Impl> weak() const { return life_; }

  net::Loop& loop_;
  const JournalOptions options_;
  const JournalCallbacks callbacks_;
  DirectoryLock lock_;
  Database database_;
  std::optional<Database> reader_;  // Closed before database_, whose end moves the WAL into the file.
  std::unique_ptr<Writer> writer_;

  Backlog backlog_{kQueueMax};
  Records under_way_;  // Not null while the store thread writes it, and while it waits for its next try.
  bool is_busy_ = false;
  bool is_writable_ = true;
  bool is_flush_posted_ = false;
  bool removes_old_ = true;    // With the next batch.
  bool has_more_old_ = false;  // The last removal left some.
  unsigned ticks_ = 0;
  net::asio::steady_timer timer_;

  net::Mailbox<Batch> orders_{1};
  net::Mailbox<BatchEnd> ends_{1};
  std::thread thread_;
  std::shared_ptr<Impl> life_{this, [](Impl*) {}};
};

Journal::Impl::~Impl() {
  orders_.close();
  if (thread_.joinable()) thread_.join();
  life_.reset();
  if (writer_ != nullptr) write_the_rest();
}

std::string Journal::Impl::path() const {
  if (is_in_memory()) return "the journal in memory";
  return (std::filesystem::path(options_.data_dir) / kJournalFile).string();
}

Result<core::Snapshot> Journal::Impl::restore(Instant now, WallTime wall) {
  DEFIB_CHECK(writer_ == nullptr);
  const Result<Meta> meta = read_meta(database_);
  if (!meta.ok()) return damaged(path(), meta.error());
  const std::string boot_id = net::read_boot_id();
  const JournalScale scale = choose_scale(meta.value(), boot_id, now, wall);
  Result<core::Snapshot> snapshot = read_snapshot(database_, meta.value(), scale, now, options_.closed_incidents_max);
  if (!snapshot.ok()) return damaged(path(), snapshot.error());
  Result<std::unique_ptr<Writer>> writer =
      Writer::make(database_, meta.value(), boot_id, scale, options_.keep, is_in_memory() ? kMemoryHistoryMax : 0);
  if (!writer.ok()) return damaged(path(), writer.error());
  if (const Done opened = open_reader(); !opened.ok()) return Error{opened.error()};
  database_.set_checkpoint_on_close(true);
  writer_ = std::move(writer).value();
  thread_ = std::thread([this] { work(); });
  hand_over();
  await_tick();
  return snapshot;
}

Done Journal::Impl::open_reader() {
  if (is_in_memory()) return Unit{};
  Result<Database> reader = Database::open(path(), SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX);
  if (!reader.ok()) return Error{fmt::format("cannot open {} for reading: {}", path(), reader.error())};
  reader_.emplace(std::move(reader).value());
  return Unit{};
}

void Journal::Impl::write(core::Persist persist) {
  DEFIB_CHECK(writer_ != nullptr);
  backlog_.push({std::move(persist), net::read_steady()});
  if (is_flush_posted_ || under_way_ != nullptr) return;
  // Not at once: what the rest of this turn writes shares the transaction.
  is_flush_posted_ = true;
  loop_.post([weak = weak()] {
    if (const auto self = weak.lock()) self->flush();
  });
}

void Journal::Impl::flush() {
  is_flush_posted_ = false;
  if (under_way_ == nullptr && !backlog_.is_empty()) hand_over();
}

Batch Journal::Impl::next_batch() {
  if (under_way_ == nullptr) {
    under_way_ = std::make_shared<const std::vector<Queued>>(backlog_.take(kBatchRecordsMax));
  }
  return {.records = under_way_,
          .alive = net::read_steady(),
          .wall = net::read_wall(),
          .is_complete = backlog_.is_empty(),
          .removes_old = std::exchange(removes_old_, false)};
}

void Journal::Impl::hand_over() {
  is_busy_ = true;
  DEFIB_CHECK(orders_.push(next_batch()));
}

void Journal::Impl::work() {
  while (true) {
    const std::vector<Batch> orders = orders_.take_all();
    if (orders.empty()) return;
    for (const Batch& batch : orders) {
      Done done = writer_->write(batch);
      DEFIB_CHECK(ends_.push({std::move(done), writer_->has_more_old()}));
      loop_.post([weak = weak()] {
        if (const auto self = weak.lock()) self->take_end();
      });
    }
  }
}

void Journal::Impl::take_end() {
  const std::vector<BatchEnd> ends = ends_.take_all();
  DEFIB_CHECK(ends.size() == 1 && is_busy_);
  is_busy_ = false;
  const BatchEnd& end = ends.front();
  if (!end.done.ok()) {
    // The batch stays under way until a tick tries it again.
    const bool was_writable = std::exchange(is_writable_, false);
    if (was_writable) callbacks_.writable(false, fmt::format("cannot write {}: {}", path(), end.done.error()));
    return;
  }
  has_more_old_ = end.has_more_old;
  const Records written = std::exchange(under_way_, nullptr);
  if (!backlog_.is_empty()) hand_over();
  const bool was_writable = std::exchange(is_writable_, true);
  if (!was_writable) callbacks_.writable(true, {});
  tell_persisted(written);
}

void Journal::Impl::tell_persisted(const Records& records) {
  for (const Queued& queued : *records) {
    if (queued.persist.token != 0) callbacks_.persisted(queued.persist.token);
  }
}

void Journal::Impl::await_tick() {
  timer_.expires_after(kTick);
  timer_.async_wait([weak = weak()](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (!error && self != nullptr) self->on_tick();
  });
}

// The alive mark of each second, the next try of a failed batch, and now and then the removal of what is old.
void Journal::Impl::on_tick() {
  await_tick();
  if (++ticks_ % kTicksBetweenRemovals == 0 || has_more_old_) removes_old_ = true;
  if (!is_busy_) hand_over();
}

void Journal::Impl::write_the_rest() {
  ends_.close();
  const std::vector<BatchEnd> ends = ends_.take_all();
  if (!ends.empty() && ends.front().done.ok()) under_way_ = nullptr;
  bool is_ok = true;
  while (is_ok && (under_way_ != nullptr || !backlog_.is_empty())) {
    is_ok = writer_->write(next_batch()).ok();
    under_way_ = nullptr;
  }
  if (!is_ok) return;
  Batch last = next_batch();
  last.is_clean_end = true;
  // Without it the next start reads the same as after a crash, and loses nothing.
  static_cast<void>(writer_->write(last).ok());
}

std::vector<core::HistoryRecord> Journal::Impl::history(core::EventId after, std::size_t limit) {
  limit = std::min(limit, kHistoryLinesMax);
  std::vector<core::HistoryRecord> lines;
  Database& database = reader_ ? *reader_ : database_;
  // What can't be read leaves out nothing that is still waiting to be written.
  if (!read_history(database, after, limit, lines).ok()) lines.clear();
  const auto take = [&](const core::HistoryRecord& line) {
    const core::EventId last = lines.empty() ? after : lines.back().id;
    if (line.id > last && lines.size() < limit) lines.push_back(line);
  };
  if (under_way_ != nullptr) {
    for (const Queued& queued : *under_way_) {
      if (const auto* line = std::get_if<core::HistoryRecord>(&queued.persist.record)) take(*line);
    }
  }
  backlog_.each_history(take);
  return lines;
}

Journal::Journal(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Journal::~Journal() = default;

Result<std::unique_ptr<Journal>> Journal::open(net::Loop& loop, JournalOptions options, JournalCallbacks callbacks) {
  const bool is_in_memory = options.data_dir == kInMemory;
  DirectoryLock lock;
  if (!is_in_memory) {
    Result<DirectoryLock> acquired = DirectoryLock::acquire(options.data_dir);
    if (!acquired.ok()) return Error{acquired.error()};
    lock = std::move(acquired).value();
  }
  Result<Database> database = is_in_memory ? open_journal_in_memory() : open_journal_file(options.data_dir);
  if (!database.ok()) return Error{database.error()};
  return std::unique_ptr<Journal>(new Journal(std::make_unique<Impl>(loop, std::move(options), std::move(callbacks),
                                                                     std::move(lock), std::move(database).value())));
}

Result<core::Snapshot> Journal::restore(Instant now, WallTime wall) { return impl_->restore(now, wall); }
void Journal::write(core::Persist persist) { impl_->write(std::move(persist)); }
std::vector<core::HistoryRecord> Journal::history(core::EventId after, std::size_t limit) {
  return impl_->history(after, limit);
}
std::uint64_t Journal::dropped() const { return impl_->dropped(); }

}  // namespace defib::store
