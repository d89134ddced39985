#include "store/schema.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/test_support.h"

namespace defib::store {
namespace {

using testing::HasSubstr;

unsigned mode_of(const std::string& path) {
  struct stat facts {};
  EXPECT_EQ(::stat(path.c_str(), &facts), 0) << path;
  return facts.st_mode & 07777u;
}

// Names of everything in the data directory but the lock.
std::vector<std::string> names_in(const std::string& data_dir) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(data_dir)) {
    if (entry.path().filename() != "journal.lock") names.push_back(entry.path().filename().string());
  }
  return names;
}

// Makes a journal with some content and closes it cleanly: one file, no WAL beside it.
void make_journal(const TempDir& dir) {
  Opened opened(dir.data_dir());
  ASSERT_EQ(opened.error, "");
  for (core::AgentKey key = 0; key < 500; ++key) opened.write(full_agent(key, "a" + std::to_string(key)));
  ASSERT_TRUE(opened.settle());
}

// Opens, expects a refusal that names the file and says `words`, and the file exactly as it was.
void expect_refused(const TempDir& dir, const std::string& words) {
  const std::string before = read_bytes(dir.file());
  const Opened opened(dir.data_dir());
  EXPECT_THAT(opened.error, HasSubstr(words));
  EXPECT_THAT(opened.error, HasSubstr(dir.file()));
  EXPECT_THAT(opened.error, HasSubstr("left as it is"));
  EXPECT_EQ(read_bytes(dir.file()), before);
}

TEST(JournalFile, DirectoryAndFilesAreForUsAlone) {
  const mode_t umask_before = ::umask(0);
  const TempDir dir;
  {
    Opened opened(dir.data_dir() + "/");
    ASSERT_EQ(opened.error, "");
    ASSERT_TRUE(opened.settle());
    EXPECT_EQ(mode_of(dir.data_dir()), 0700u);
    for (const char* name : {"journal.db", "journal.db-wal", "journal.db-shm", "journal.lock"}) {
      EXPECT_EQ(mode_of(dir.data_dir() + "/" + name), 0600u) << name;
    }
  }
  ::umask(umask_before);
  EXPECT_EQ(names_in(dir.data_dir()), std::vector<std::string>{"journal.db"});
}

TEST(JournalFile, ParentsAreMade) {
  const TempDir dir;
  const Opened opened((dir.path() / "a" / "b" / "c").string());
  EXPECT_EQ(opened.error, "");
  EXPECT_TRUE(opened.snapshot.is_first_start);
}

TEST(JournalFile, AFileInPlaceOfTheDirectoryIsTold) {
  const TempDir dir;
  write_bytes(dir.data_dir(), "hello");
  const Opened opened(dir.data_dir());
  EXPECT_THAT(opened.error, HasSubstr("is not a directory"));
  EXPECT_EQ(read_bytes(dir.data_dir()), "hello");
}

TEST(JournalFile, ASecondMonitorIsToldWhoHoldsIt) {
  const TempDir dir;
  {
    Opened first(dir.data_dir());
    ASSERT_EQ(first.error, "");
    const Opened second(dir.data_dir());
    EXPECT_THAT(second.error, HasSubstr(fmt::format("another defib monitor (process {}) uses", ::getpid())));
    EXPECT_THAT(second.error, HasSubstr(dir.data_dir()));
    EXPECT_TRUE(first.settle());
  }
  EXPECT_EQ(Opened(dir.data_dir()).error, "");
}

TEST(JournalFile, WhatIsNotSqliteIsRefused) {
  for (const std::string& content :
       {std::string("hello, world\n"), std::string(100'000, '\xee'), std::string("S"), std::string()}) {
    const TempDir dir;
    std::filesystem::create_directory(dir.data_dir());
    write_bytes(dir.file(), content);
    expect_refused(dir, "is not a defib journal");
    EXPECT_EQ(names_in(dir.data_dir()), std::vector<std::string>{"journal.db"});
  }
}

TEST(JournalFile, ADirectoryOrPipeInItsPlaceIsRefused) {
  const TempDir dir;
  std::filesystem::create_directories(dir.file());
  EXPECT_THAT(Opened(dir.data_dir()).error, HasSubstr("it is not a regular file"));
}

TEST(JournalFile, AnotherProgramsDatabaseIsRefused) {
  const TempDir dir;
  std::filesystem::create_directory(dir.data_dir());
  {
    Result<Database> other = Database::open(dir.file(), SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    ASSERT_TRUE(other.ok());
    ASSERT_TRUE(other.value().run("CREATE TABLE agents (name TEXT); INSERT INTO agents VALUES ('precious')").ok());
  }
  expect_refused(dir, "another program's SQLite database");
  EXPECT_EQ(names_in(dir.data_dir()), std::vector<std::string>{"journal.db"});
}

TEST(JournalFile, ANewerFormatIsRefused) {
  const TempDir dir;
  make_journal(dir);
  {
    Result<Database> newer = Database::open(dir.file(), SQLITE_OPEN_READWRITE);
    ASSERT_TRUE(newer.ok());
    ASSERT_TRUE(newer.value().run("PRAGMA user_version = 2").ok());
  }
  expect_refused(dir, "was written by a newer defib (format 2, this one reads 1)");
}

// The newer program was killed: its format stands in the WAL only.
TEST(JournalFile, ANewerFormatInTheWalIsRefused) {
  const TempDir dir;
  make_journal(dir);
  {
    Result<Database> newer = Database::open(dir.file(), SQLITE_OPEN_READWRITE);
    ASSERT_TRUE(newer.ok());
    newer.value().set_checkpoint_on_close(false);
    ASSERT_TRUE(newer.value().run("PRAGMA user_version = 2").ok());
  }
  const std::string wal = read_bytes(dir.file() + "-wal");
  ASSERT_GT(wal.size(), 0u);
  expect_refused(dir, "was written by a newer defib (format 2, this one reads 1)");
  EXPECT_EQ(read_bytes(dir.file() + "-wal"), wal);
}

TEST(JournalFile, ATruncatedFileIsRefused) {
  const TempDir dir;
  make_journal(dir);
  const std::string whole = read_bytes(dir.file());
  for (const std::size_t size : {std::size_t{50}, std::size_t{4096}, whole.size() / 2, whole.size() - 1}) {
    write_bytes(dir.file(), std::string_view(whole).substr(0, size));
    expect_refused(dir, "is damaged");
  }
  write_bytes(dir.file(), whole);
  EXPECT_EQ(Opened(dir.data_dir()).snapshot.agents.size(), 500u);
}

TEST(JournalFile, GarbageInTheMiddleIsRefused) {
  const TempDir dir;
  make_journal(dir);
  std::string bytes = read_bytes(dir.file());
  std::fill(bytes.begin() + 4096, bytes.end(), '\x5a');
  write_bytes(dir.file(), bytes);
  expect_refused(dir, "is damaged");
}

// SQLite's own structure is sound, the record in it is not.
TEST(JournalFile, ARecordThatCanNotBeReadIsRefused) {
  const TempDir dir;
  make_journal(dir);
  {
    Result<Database> database = Database::open(dir.file(), SQLITE_OPEN_READWRITE);
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE(database.value().run("UPDATE agents SET body = 'broken' WHERE key = 77").ok());
  }
  expect_refused(dir, "row 77 of");
}

TEST(JournalFile, AMissingFileBesideItsWalIsRefused) {
  const TempDir dir;
  std::filesystem::create_directory(dir.data_dir());
  write_bytes(dir.file() + "-wal", "something");
  EXPECT_THAT(Opened(dir.data_dir()).error, HasSubstr("it is missing, but its -wal file is there"));
  EXPECT_EQ(read_bytes(dir.file() + "-wal"), "something");
}

// A monitor that was killed while it made its file left the unfinished one under another name.
TEST(JournalFile, AnUnfinishedFileIsMadeAgain) {
  const TempDir dir;
  std::filesystem::create_directory(dir.data_dir());
  write_bytes(dir.file() + ".new", "half");
  write_bytes(dir.file() + ".new-journal", "half");
  EXPECT_EQ(Opened(dir.data_dir()).error, "");
  EXPECT_EQ(names_in(dir.data_dir()), std::vector<std::string>{"journal.db"});
}

// Runs in a child that gives up its privileges, since root may write anywhere.
std::string error_as_nobody(const std::string& data_dir) {
  int ends[2];
  DEFIB_CHECK(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::getuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) ::_exit(1);
    const std::string error = Opened(data_dir).error;
    const ssize_t written = ::write(ends[1], error.data(), error.size());
    ::_exit(written == static_cast<ssize_t>(error.size()) ? 0 : 1);
  }
  ::close(ends[1]);
  std::string error;
  char buffer[512];
  for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    error.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  return error;
}

TEST(JournalFile, AReadOnlyDirectoryIsTold) {
  const TempDir dir;
  std::filesystem::permissions(dir.path(), std::filesystem::perms{0555});
  EXPECT_THAT(error_as_nobody(dir.data_dir()), HasSubstr("cannot make the data directory " + dir.data_dir()));
  std::filesystem::permissions(dir.path(), std::filesystem::perms{0755});
  std::filesystem::create_directory(dir.data_dir());
  std::filesystem::permissions(dir.data_dir(), std::filesystem::perms{0555});
  const std::string error = error_as_nobody(dir.data_dir());
  EXPECT_THAT(error, HasSubstr("cannot open " + dir.data_dir() + "/journal.lock: Permission denied"));
  EXPECT_THAT(error, HasSubstr("choose another data_dir"));
  EXPECT_TRUE(std::filesystem::is_empty(dir.data_dir()));
}

}  // namespace
}  // namespace defib::store
