#include "governance/sqlite.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace inferd {
namespace {

constexpr char kSettings[] =
    "PRAGMA locking_mode=EXCLUSIVE;"
    "PRAGMA journal_mode=WAL;"
    "PRAGMA synchronous=FULL;"
    "PRAGMA secure_delete=ON;"
    "PRAGMA temp_store=MEMORY;"
    "PRAGMA trusted_schema=OFF;";

Status StatusOfCode(int code, std::string_view path, std::string_view what, const char* message) {
  const int primary = code & 0xff;
  const StatusCode status =
      primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB ? StatusCode::kDataLoss
      : primary == SQLITE_BUSY || primary == SQLITE_LOCKED  ? StatusCode::kFailedPrecondition
      : primary == SQLITE_CONSTRAINT                        ? StatusCode::kAlreadyExists
                                                            : StatusCode::kUnavailable;
  return ErrorF(status, "%s: cannot %s: %s", path, what, message);
}

// Makes the file with its mode before SQLite does; the log beside it takes the same mode.
Status Create(const std::string& path, int flags) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
  if (fd < 0) {
    return ErrorF(StatusCode::kUnavailable, "%s: cannot open: %s", path, std::strerror(errno));
  }
  close(fd);
  return OkStatus();
}

}  // namespace

void SqliteStatement::Finalize::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

SqliteStatement& SqliteStatement::Bind(int parameter, int64_t value) {
  bind_error_ |= sqlite3_bind_int64(statement_.get(), parameter, value);
  return *this;
}

SqliteStatement& SqliteStatement::Bind(int parameter, std::string_view text) {
  bind_error_ |= sqlite3_bind_text64(statement_.get(),
                                     parameter,
                                     text.empty() ? "" : text.data(),
                                     text.size(),
                                     SQLITE_TRANSIENT,
                                     SQLITE_UTF8);
  return *this;
}

SqliteStatement& SqliteStatement::BindBlob(int parameter, std::string_view bytes) {
  bind_error_ |= sqlite3_bind_blob64(statement_.get(),
                                     parameter,
                                     bytes.empty() ? "" : bytes.data(),
                                     bytes.size(),
                                     SQLITE_TRANSIENT);
  return *this;
}

SqliteStatement& SqliteStatement::BindNull(int parameter) {
  bind_error_ |= sqlite3_bind_null(statement_.get(), parameter);
  return *this;
}

StatusOr<bool> SqliteStatement::Step() {
  if (bind_error_ != SQLITE_OK) {
    return ErrorF(StatusCode::kInternal, "a parameter of a statement cannot be bound");
  }
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW || code == SQLITE_DONE) {
    return code == SQLITE_ROW;
  }
  sqlite3* const database = sqlite3_db_handle(statement_.get());
  const char* const path = sqlite3_db_filename(database, "main");
  return StatusOfCode(sqlite3_extended_errcode(database),
                      path == nullptr ? "database" : path,
                      "run a statement",
                      sqlite3_errmsg(database));
}

Status SqliteStatement::Run() {
  const auto row = Step();
  Reset();
  RETURN_IF_ERROR(row);
  return *row ? ErrorF(StatusCode::kInternal, "a statement gave an unexpected row") : OkStatus();
}

void SqliteStatement::Reset() {
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
  bind_error_ = SQLITE_OK;
}

int64_t SqliteStatement::Integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

std::string_view SqliteStatement::Text(int column) const {
  const void* const bytes = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return bytes == nullptr
             ? std::string_view()
             : std::string_view(static_cast<const char*>(bytes), static_cast<size_t>(size));
}

bool SqliteStatement::IsNull(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

StatusOr<std::unique_ptr<Sqlite>> Sqlite::Open(const std::string& path) {
  RETURN_IF_ERROR(Create(path, 0));
  sqlite3* database = nullptr;
  const int code = sqlite3_open_v2(
      path.c_str(), &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<Sqlite> result(new Sqlite(database, path));
  if (code != SQLITE_OK) {
    return result->Error(code, "open");
  }
  RETURN_IF_ERROR(result->Execute(kSettings));
  // The exclusive lock is taken with the first write; a second process fails here, not later.
  RETURN_IF_ERROR(result->Transaction([] { return OkStatus(); }));
  return result;
}

Sqlite::~Sqlite() { sqlite3_close_v2(database_); }

Status Sqlite::Error(int code, std::string_view what) const {
  return StatusOfCode(code, path_, what, sqlite3_errmsg(database_));
}

Status Sqlite::Execute(const char* sql) {
  const int code = sqlite3_exec(database_, sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? OkStatus() : Error(code, "run a statement");
}

StatusOr<SqliteStatement> Sqlite::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(
      database_, sql.data(), static_cast<int>(sql.size()), 0, &statement, nullptr);
  if (code != SQLITE_OK) {
    return Error(code, "prepare a statement");
  }
  return SqliteStatement(statement);
}

Status Sqlite::Transaction(const std::function<Status()>& body) {
  RETURN_IF_ERROR(Execute("BEGIN IMMEDIATE"));
  Status status = body();
  if (status.ok()) {
    status = Execute("COMMIT");
  }
  if (!status.ok()) {
    // Fails if SQLite rolled back by itself, which is as well.
    sqlite3_exec(database_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  return status;
}

Status Sqlite::TruncateLog() {
  const int code =
      sqlite3_wal_checkpoint_v2(database_, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  return code == SQLITE_OK ? OkStatus() : Error(code, "truncate the log");
}

Status Sqlite::BackupTo(const std::string& path) {
  RETURN_IF_ERROR(Create(path, O_EXCL));
  sqlite3* copy = nullptr;
  int code = sqlite3_open_v2(path.c_str(), &copy, SQLITE_OPEN_READWRITE, nullptr);
  if (code == SQLITE_OK) {
    sqlite3_backup* const backup = sqlite3_backup_init(copy, "main", database_, "main");
    if (backup != nullptr) {
      sqlite3_backup_step(backup, -1);
      sqlite3_backup_finish(backup);
    }
    code = sqlite3_errcode(copy);
  }
  const Status status = code == SQLITE_OK || code == SQLITE_DONE
                            ? OkStatus()
                            : StatusOfCode(code, path, "back up to", sqlite3_errmsg(copy));
  sqlite3_close_v2(copy);
  return status;
}

}  // namespace inferd
