#include "store/sqlite.h"

#include <fmt/format.h>
#include <system_error>

namespace defib::store {

namespace {

// errno of the last system call that failed on the file or its WAL. sqlite3_system_errno() forgets that of a commit.
int system_error(sqlite3* connection) {
  const int opening = sqlite3_system_errno(connection);
  if (opening != 0) return opening;
  sqlite3_file* wal = nullptr;
  sqlite3_file_control(connection, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal);
  int last = 0;
  if (wal != nullptr && wal->pMethods != nullptr) wal->pMethods->xFileControl(wal, SQLITE_FCNTL_LAST_ERRNO, &last);
  if (last == 0) sqlite3_file_control(connection, "main", SQLITE_FCNTL_LAST_ERRNO, &last);
  return last;
}

// SQLite's words, with the system's where a system call is behind it.
Error problem(sqlite3* connection) {
  const int code = sqlite3_errcode(connection);
  const std::string words = sqlite3_errmsg(connection);
  if (code != SQLITE_IOERR && code != SQLITE_CANTOPEN) return Error{words};
  const int error = system_error(connection);
  return Error{error == 0 ? words : fmt::format("{} ({})", words, std::generic_category().message(error))};
}

}  // namespace

Statement& Statement::bind(std::int64_t value) {
  DEFIB_CHECK(sqlite3_bind_int64(statement_.get(), next_parameter_++, value) == SQLITE_OK);
  return *this;
}

Statement& Statement::bind(double value) {
  DEFIB_CHECK(sqlite3_bind_double(statement_.get(), next_parameter_++, value) == SQLITE_OK);
  return *this;
}

Statement& Statement::bind(std::string_view text) {
  // A null pointer would bind NULL, and an empty view may hold one.
  const char* data = text.empty() ? "" : text.data();
  const int rc =
      sqlite3_bind_text64(statement_.get(), next_parameter_++, data, text.size(), SQLITE_STATIC, SQLITE_UTF8);
  DEFIB_CHECK(rc == SQLITE_OK);
  return *this;
}

Statement& Statement::bind_blob(std::string_view bytes) {
  const char* data = bytes.empty() ? "" : bytes.data();
  const int rc = sqlite3_bind_blob64(statement_.get(), next_parameter_++, data, bytes.size(), SQLITE_STATIC);
  DEFIB_CHECK(rc == SQLITE_OK);
  return *this;
}

Statement& Statement::bind_null() {
  DEFIB_CHECK(sqlite3_bind_null(statement_.get(), next_parameter_++) == SQLITE_OK);
  return *this;
}

Result<bool> Statement::step() {
  switch (sqlite3_step(statement_.get())) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return problem(sqlite3_db_handle(statement_.get()));
  }
}

Done Statement::run() {
  const Result<bool> stepped = step();
  reset();
  if (!stepped.ok()) return Error{stepped.error()};
  return Unit{};
}

void Statement::reset() {
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
  next_parameter_ = 1;
}

std::int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_.get(), column); }

double Statement::real(int column) const { return sqlite3_column_double(statement_.get(), column); }

std::string_view Statement::bytes(int column) const {
  const void* data = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  if (data == nullptr) return {};
  return {static_cast<const char*>(data), static_cast<std::size_t>(size)};
}

bool Statement::is_null(int column) const { return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL; }

Result<Database> Database::open(const std::string& path, int flags) {
  sqlite3* connection = nullptr;
  const int rc = sqlite3_open_v2(path.c_str(), &connection, flags, nullptr);
  Database database;
  database.connection_.reset(connection);
  if (connection == nullptr) return Error{"out of memory"};
  if (rc != SQLITE_OK) return problem(connection);
  sqlite3_extended_result_codes(connection, 0);
  return database;
}

Done Database::run(const char* sql) {
  if (sqlite3_exec(connection_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) return problem(connection_.get());
  return Unit{};
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int rc = sqlite3_prepare_v3(connection_.get(), sql.data(), static_cast<int>(sql.size()),
                                    SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (rc != SQLITE_OK) return problem(connection_.get());
  Statement made;
  made.statement_.reset(statement);
  return made;
}

Result<std::string> Database::ask(std::string_view sql) {
  Result<Statement> statement = prepare(sql);
  if (!statement.ok()) return Error{statement.error()};
  const Result<bool> has_row = statement.value().step();
  if (!has_row.ok()) return Error{has_row.error()};
  if (!has_row.value()) return Error{"no answer"};
  return std::string(statement.value().bytes(0));
}

std::int64_t Database::changes() const { return sqlite3_changes64(connection_.get()); }

bool Database::is_in_transaction() const { return sqlite3_get_autocommit(connection_.get()) == 0; }

bool Database::has_moved() const {
  int moved = 0;
  const int rc = sqlite3_file_control(connection_.get(), "main", SQLITE_FCNTL_HAS_MOVED, &moved);
  return rc == SQLITE_OK && moved != 0;
}

void Database::set_checkpoint_on_close(bool is_on) {
  sqlite3_db_config(connection_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, is_on ? 0 : 1, nullptr);
}

}  // namespace defib::store
