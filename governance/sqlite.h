// SQLite through its C API, as far as this room needs it: open, statements, transactions.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace inferd {

// A prepared statement. Parameters and columns count from 1 and 0, as SQLite counts them. What a
// getter returns lives until the next Step or Reset. Owned by one thread at a time; the database
// outlives it.
class SqliteStatement {
 public:
  SqliteStatement(SqliteStatement&&) = default;
  SqliteStatement& operator=(SqliteStatement&&) = default;

  SqliteStatement& Bind(int parameter, int64_t value);
  SqliteStatement& Bind(int parameter, std::string_view text);
  SqliteStatement& BindBlob(int parameter, std::string_view bytes);
  SqliteStatement& BindNull(int parameter);

  // True with a row, false at the end.
  StatusOr<bool> Step();
  // For a statement that gives no rows. Resets it, so that it can be bound again.
  Status Run();
  void Reset();

  int64_t Integer(int column) const;
  std::string_view Text(int column) const;
  std::string_view Blob(int column) const { return Text(column); }
  bool IsNull(int column) const;

 private:
  friend class Sqlite;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  explicit SqliteStatement(sqlite3_stmt* statement) : statement_(statement) {}
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int bind_error_ = 0;
};

// One database file that one process uses: locked exclusively, write-ahead log, fsync at every
// commit, deleted content overwritten with zeros, owner's eyes only (0600). One thread at a time.
class Sqlite {
 public:
  static StatusOr<std::unique_ptr<Sqlite>> Open(const std::string& path);
  ~Sqlite();
  Sqlite(const Sqlite&) = delete;
  Sqlite& operator=(const Sqlite&) = delete;

  // Statements without parameters and results, separated by semicolons.
  Status Execute(const char* sql);
  StatusOr<SqliteStatement> Prepare(std::string_view sql);
  // Runs `body` in a transaction: committed if it returns OK, else rolled back.
  Status Transaction(const std::function<Status()>& body);
  // Moves the write-ahead log into the database and empties it, so that no older content stays in
  // it.
  Status TruncateLog();
  // Copies the whole database to a new file of mode 0600.
  Status BackupTo(const std::string& path);

 private:
  Sqlite(sqlite3* database, std::string path) : database_(database), path_(std::move(path)) {}
  Status Error(int code, std::string_view what) const;
  sqlite3* const database_;
  const std::string path_;
};

}  // namespace inferd
