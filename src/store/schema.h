// The journal's file: how it is made, and how one that is not ours, newer or damaged is told and left alone.
//
// journal.db is SQLite in WAL mode with application_id kApplicationId and user_version kFormat. It is made under
// another name and renamed when whole, so a file of that name is a complete journal or not ours.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "store/sqlite.h"

namespace defib::store {

inline constexpr std::uint32_t kApplicationId = 0x64666962;  // "dfib"
// Raised when an older reader would misread the file; a new field of a body or a new table raises nothing.
inline constexpr std::uint32_t kFormat = 1;
inline constexpr const char* kJournalFile = "journal.db";

// Opens `data_dir`/journal.db, made where there is none. Closing it leaves the file as it is until
// set_checkpoint_on_close(true): the caller has read it by then and knows that it is sound.
// An error names the path and what to do, and the file is byte for byte what it was.
Result<Database> open_journal_file(const std::string& data_dir);

// The same tables in memory, serialised so that two threads may use the connection.
Result<Database> open_journal_in_memory();

// How to say that the file can't be trusted.
Error damaged(const std::string& path, const std::string& how);

}  // namespace defib::store
