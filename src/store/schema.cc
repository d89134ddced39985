#include "store/schema.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace defib::store {

namespace {

// meta is one row: the alive mark, what it takes to map instants (codec.h), and the last ids, which go on even
// where the rows that bore them are gone. Times of columns named _ns are on the journal's scale.
constexpr const char* kTables = R"sql(
  CREATE TABLE meta (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    boot_id TEXT NOT NULL DEFAULT '',
    offset_ns INTEGER NOT NULL DEFAULT 0,
    alive_ns INTEGER NOT NULL DEFAULT 0,
    alive_wall_ms INTEGER NOT NULL DEFAULT 0,
    known_until_ns INTEGER NOT NULL DEFAULT 0,
    is_clean_end INTEGER NOT NULL DEFAULT 0,
    last_incident INTEGER NOT NULL DEFAULT 0,
    last_notice INTEGER NOT NULL DEFAULT 0,
    last_event INTEGER NOT NULL DEFAULT 0);
  INSERT INTO meta (only) VALUES (1);
  CREATE TABLE agents (
    key INTEGER PRIMARY KEY, id TEXT NOT NULL, body BLOB NOT NULL, task_progress REAL, capsule BLOB NOT NULL);
  CREATE TABLE checkpoints (chunk INTEGER PRIMARY KEY, entries BLOB NOT NULL);
  CREATE TABLE incidents (id INTEGER PRIMARY KEY, opened_ms INTEGER NOT NULL, closed_ms INTEGER, body BLOB NOT NULL);
  CREATE INDEX incidents_by_closed ON incidents (closed_ms);
  CREATE TABLE notices (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
  CREATE TABLE grants (
    agent TEXT PRIMARY KEY, instance TEXT NOT NULL, restarts INTEGER NOT NULL, spent INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE history (
    id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, kind TEXT NOT NULL, agent TEXT NOT NULL,
    incident INTEGER NOT NULL, what TEXT NOT NULL, text BLOB NOT NULL);
)sql";

// Closes what open(2) gave.
struct File {
  int fd;
  ~File() {
    if (fd >= 0) ::close(fd);
  }
};

std::string system_words() { return std::generic_category().message(errno); }

Done create_tables(Database& database) {
  const std::string sql = fmt::format("BEGIN; PRAGMA application_id = {}; PRAGMA user_version = {}; {} COMMIT;",
                                      kApplicationId, kFormat, kTables);
  return database.run(sql.c_str());
}

// A name is on disk once its directory is.
Done sync_directory(const std::filesystem::path& directory) {
  const File file{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (file.fd < 0 || ::fsync(file.fd) != 0) return Error{system_words()};
  return Unit{};
}

Done fill_new_file(const std::string& path) {
  {
    // SQLite would take the umask's mode; its -wal and -shm take that of this file.
    const File file{::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
    if (file.fd < 0) return Error{system_words()};
  }
  Result<Database> database = Database::open(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX);
  if (!database.ok()) return Error{database.error()};
  if (const Done made = create_tables(database.value()); !made.ok()) return made;
  return database.value().run("PRAGMA journal_mode = WAL");
}

Done create_file(const std::filesystem::path& path) {
  const std::filesystem::path unfinished = path.string() + ".new";
  std::error_code ignored;
  for (const char* suffix : {"", "-journal", "-wal", "-shm"}) {
    std::filesystem::remove(unfinished.string() + suffix, ignored);
  }
  Done filled = fill_new_file(unfinished.string());
  if (filled.ok() && ::rename(unfinished.c_str(), path.c_str()) != 0) filled = Error{system_words()};
  if (filled.ok()) filled = sync_directory(path.parent_path());
  if (filled.ok()) return filled;
  std::filesystem::remove(unfinished, ignored);
  return Error{fmt::format(
      "cannot make {}: {}; free some space or make its directory writable for this user, or choose another data_dir",
      path.string(), filled.error())};
}

std::uint32_t big_endian_32(const unsigned char* bytes) {
  return static_cast<std::uint32_t>(bytes[0]) << 24 | static_cast<std::uint32_t>(bytes[1]) << 16 |
         static_cast<std::uint32_t>(bytes[2]) << 8 | bytes[3];
}

Error foreign(const std::string& path, std::string_view what) {
  return Error{fmt::format(
      "{} is not a defib journal ({}); it was left as it is: move it away, or choose another data_dir", path, what)};
}

Error newer(const std::string& path, std::uint32_t format) {
  return Error{
      fmt::format("{} was written by a newer defib (format {}, this one reads {}); it was left as it is: run the newer "
                  "defib, or choose another data_dir",
                  path, format, kFormat)};
}

std::uint64_t size_of(const std::string& path) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  return error ? 0 : static_cast<std::uint64_t>(size);
}

// Reads the header (sqlite.org/fileformat.html, 1.3) without SQLite, which would make and change files beside it.
Done check_header(const std::string& path) {
  const File file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) return Error{fmt::format("cannot open {}: {}", path, system_words())};
  struct stat facts {};
  if (::fstat(file.fd, &facts) != 0 || !S_ISREG(facts.st_mode)) return foreign(path, "it is not a regular file");
  std::array<unsigned char, 100> header{};
  const ssize_t got = ::pread(file.fd, header.data(), header.size(), 0);
  if (got < 0) return Error{fmt::format("cannot read {}: {}", path, system_words())};
  static constexpr char kMagic[] = "SQLite format 3";
  if (got < 16 || std::memcmp(header.data(), kMagic, sizeof kMagic) != 0) {
    return foreign(path, got == 0 ? "it is empty" : "it is not a SQLite database");
  }
  if (static_cast<std::size_t>(got) < header.size()) return damaged(path, "its header is cut off");
  if (big_endian_32(&header[68]) != kApplicationId) return foreign(path, "it is another program's SQLite database");
  const std::uint32_t format = big_endian_32(&header[60]);
  if (format > kFormat) return newer(path, format);
  const std::uint64_t page_bytes = header[16] == 0 && header[17] == 1 ? 65536 : header[16] * 256u + header[17];
  const std::uint64_t expected = page_bytes * big_endian_32(&header[28]);
  // A monitor that was killed while it moved the WAL into the file leaves it short; the WAL has the rest.
  const bool has_wal = size_of(path + "-wal") > 0;
  const auto size = static_cast<std::uint64_t>(facts.st_size);
  if (!has_wal && size < expected) return damaged(path, fmt::format("{} bytes of {}", size, expected));
  return Unit{};
}

// What the header of the file could not tell, because a WAL lies beside it.
Done check_content(Database& database, const std::string& path) {
  const Result<std::string> application = database.ask("PRAGMA application_id");
  if (!application.ok()) return damaged(path, application.error());
  if (application.value() != std::to_string(kApplicationId)) return foreign(path, "its application_id differs");
  const Result<std::string> format = database.ask("PRAGMA user_version");
  if (!format.ok()) return damaged(path, format.error());
  if (format.value() != std::to_string(kFormat)) {
    return newer(path, static_cast<std::uint32_t>(std::strtoul(format.value().c_str(), nullptr, 10)));
  }
  // Not history: it may hold gigabytes, and nothing is decided by it.
  for (const char* table : {"meta", "agents", "checkpoints", "incidents", "notices", "grants"}) {
    const Result<std::string> verdict = database.ask(fmt::format("PRAGMA quick_check({})", table));
    if (!verdict.ok()) return damaged(path, verdict.error());
    if (verdict.value() != "ok") return damaged(path, verdict.value());
  }
  return Unit{};
}

}  // namespace

Error damaged(const std::string& path, const std::string& how) {
  return Error{fmt::format(
      "{} is damaged ({}); it was left as it is: put a copy back, or move it and its -wal file away to start "
      "without what it remembers",
      path, how)};
}

Result<Database> open_journal_file(const std::string& data_dir) {
  const std::filesystem::path file = std::filesystem::path(data_dir) / kJournalFile;
  const std::string path = file.string();
  std::error_code error;
  if (std::filesystem::symlink_status(file, error).type() == std::filesystem::file_type::not_found) {
    if (size_of(path + "-wal") > 0) return damaged(path, "it is missing, but its -wal file is there");
    if (const Done created = create_file(file); !created.ok()) return Error{created.error()};
  }
  if (const Done checked = check_header(path); !checked.ok()) return Error{checked.error()};
  Result<Database> opened = Database::open(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX);
  if (!opened.ok()) return Error{fmt::format("cannot open {}: {}", path, opened.error())};
  Database& database = opened.value();
  database.set_checkpoint_on_close(false);
  if (const Done checked = check_content(database, path); !checked.ok()) return Error{checked.error()};
  // A second that somebody looks into the file with a tool is waited out, on the store thread. The WAL of a burst is
  // cut back to 64 MiB.
  const Done set = database.run("PRAGMA busy_timeout = 1000; PRAGMA journal_size_limit = 67108864;");
  if (!set.ok()) return Error{fmt::format("cannot open {}: {}", path, set.error())};
  return opened;
}

Result<Database> open_journal_in_memory() {
  Result<Database> opened =
      Database::open(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX);
  if (!opened.ok()) return opened;
  if (const Done made = create_tables(opened.value()); !made.ok()) return Error{made.error()};
  return opened;
}

}  // namespace defib::store
