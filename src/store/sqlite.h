// A thin hand on SQLite (sqlite.org/c3ref): a connection and a prepared statement that close themselves.
//
// A connection belongs to one thread at a time, except one in memory, which SQLite serialises itself.
// A statement must not outlive its connection. Nothing here throws.
#pragma once

#include <cstdint>
#include <memory>
#include <sqlite3.h>
#include <string>
#include <string_view>

#include "base/result.h"

namespace defib::store {

class Statement {
 public:
  Statement() = default;

  // Values for the parameters, in order; texts and blobs are borrowed until the next reset().
  Statement& bind(std::int64_t value);
  Statement& bind(std::uint64_t value) { return bind(static_cast<std::int64_t>(value)); }
  Statement& bind(std::uint32_t value) { return bind(static_cast<std::int64_t>(value)); }
  Statement& bind(double value);
  Statement& bind(std::string_view text);
  Statement& bind_blob(std::string_view bytes);
  Statement& bind_null();

  // True where a row is there; an error holds SQLite's words.
  Result<bool> step();
  // Steps a statement that returns no rows, and makes it ready for its next use.
  Done run();
  void reset();

  // Columns of the present row, from 0; text and blobs are borrowed until the next step() or reset().
  std::int64_t integer(int column) const;
  double real(int column) const;
  std::string_view bytes(int column) const;
  bool is_null(int column) const;

 private:
  friend class Database;
  struct Close {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  std::unique_ptr<sqlite3_stmt, Close> statement_;
  int next_parameter_ = 1;
};

class Database {
 public:
  Database() = default;

  // `flags` as for sqlite3_open_v2. The file is never created unless the flags say so.
  static Result<Database> open(const std::string& path, int flags);

  // Runs SQL without parameters; rows are passed over.
  Done run(const char* sql);
  Result<Statement> prepare(std::string_view sql);
  // The first column of the first row, as text; an error where there is no row.
  Result<std::string> ask(std::string_view sql);
  // Rows that the last statement changed.
  std::int64_t changes() const;
  bool is_in_transaction() const;
  // The file was renamed, replaced or deleted under us: what is written now would be lost.
  bool has_moved() const;
  // While off, closing leaves the file and its WAL exactly as they are.
  void set_checkpoint_on_close(bool is_on);

 private:
  struct Close {
    void operator()(sqlite3* connection) const { sqlite3_close_v2(connection); }
  };
  std::unique_ptr<sqlite3, Close> connection_;
};

}  // namespace defib::store
