#include "governance/audit_index.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/sha256.h"
#include "governance/vault_text.h"

namespace inferd {
namespace {

using Json = nlohmann::json;

constexpr char kSchema[] =
    "CREATE TABLE IF NOT EXISTS shards(shard INTEGER PRIMARY KEY, origin TEXT UNIQUE NOT NULL,"
    "  next INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS leaves(shard INTEGER NOT NULL, idx INTEGER NOT NULL,"
    "  ts_us INTEGER NOT NULL, type TEXT NOT NULL, tenant TEXT NOT NULL, rid TEXT NOT NULL,"
    "  actor TEXT NOT NULL, subj TEXT NOT NULL, model TEXT NOT NULL, digest TEXT NOT NULL,"
    "  status TEXT NOT NULL, reason TEXT NOT NULL, finish TEXT NOT NULL,"
    "  tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, admitted INTEGER,"
    "  PRIMARY KEY(shard, idx)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS leaves_tenant ON leaves(tenant, ts_us);"
    "CREATE INDEX IF NOT EXISTS leaves_rid ON leaves(rid);"
    "CREATE INDEX IF NOT EXISTS leaves_digest ON leaves(digest, ts_us);"
    "PRAGMA user_version=1;"
    // Losing the index to a power cut costs a rebuild, so its commits need not wait for the disk.
    "PRAGMA synchronous=NORMAL;";
constexpr char kColumns[] =
    "origin, idx, ts_us, type, tenant, rid, actor, subj, model, digest, status, reason, finish, "
    "tokens_in, tokens_out, admitted";

const Json* Find(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() ? &*found : nullptr;
}

std::string Text(const Json* object, const char* key) {
  const Json* const value = object == nullptr ? nullptr : Find(*object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

uint64_t Number(const Json* object, const char* key) {
  const Json* const value = object == nullptr ? nullptr : Find(*object, key);
  return value != nullptr && value->is_number_unsigned() ? value->get<uint64_t>() : 0;
}

// The conditions of a query, and its parameters in their order.
struct Where {
  std::string sql = " WHERE 1";
  std::vector<std::string> texts;

  void Equal(const char* column, const std::string& value) {
    if (!value.empty()) {
      sql += absl::StrFormat(" AND %s=?", column);
      texts.push_back(value);
    }
  }
};

Where WhereOf(const IndexQuery& query) {
  Where where;
  where.Equal("tenant", query.tenant);
  where.Equal("type", query.type);
  where.Equal("rid", query.rid);
  where.Equal("actor", query.actor);
  where.Equal("reason", query.reason);
  where.Equal("subj", query.subj);
  where.Equal(query.model.starts_with("sha256:") ? "digest" : "model", query.model);
  if (!query.type_prefix.empty()) {
    where.sql += " AND substr(type, 1, length(?))=?";
    where.texts.push_back(query.type_prefix);
    where.texts.push_back(query.type_prefix);
  }
  if (query.administrative) {
    where.sql +=
        " AND type NOT LIKE 'inference.%' AND type NOT IN ('denied.summary', "
        "'log.heartbeat')";
  }
  if (query.from.has_value()) {
    where.sql += absl::StrFormat(" AND ts_us>=%d", MicrosOf(*query.from));
  }
  if (query.to.has_value()) {
    where.sql += absl::StrFormat(" AND ts_us<%d", MicrosOf(*query.to));
  }
  if (query.after.has_value()) {
    where.sql +=
        absl::StrFormat(" AND (shard, idx) %s ((SELECT shard FROM shards WHERE origin=?), %d)",
                        query.oldest_first ? ">" : "<",
                        query.after->index);
    where.texts.push_back(query.after->origin);
  }
  return where;
}

void BindAll(SqliteStatement& statement, const Where& where) {
  for (size_t i = 0; i < where.texts.size(); ++i) {
    statement.Bind(static_cast<int>(i) + 1, where.texts[i]);
  }
}

// The columns of text, from `type` on, in their order.
constexpr std::string IndexRow::* kTexts[] = {&IndexRow::type,
                                              &IndexRow::tenant,
                                              &IndexRow::rid,
                                              &IndexRow::actor,
                                              &IndexRow::subj,
                                              &IndexRow::model,
                                              &IndexRow::digest,
                                              &IndexRow::status,
                                              &IndexRow::reason,
                                              &IndexRow::finish};

IndexRow ReadRow(const SqliteStatement& select) {
  IndexRow row;
  row.origin = select.Text(0);
  row.index = static_cast<uint64_t>(select.Integer(1));
  row.ts_us = select.Integer(2);
  for (size_t i = 0; i < std::size(kTexts); ++i) {
    row.*kTexts[i] = select.Text(static_cast<int>(i) + 3);
  }
  row.tokens_in = static_cast<uint64_t>(select.Integer(13));
  row.tokens_out = static_cast<uint64_t>(select.Integer(14));
  if (!select.IsNull(15)) {
    row.admitted = static_cast<uint64_t>(select.Integer(15));
  }
  return row;
}

Status Insert(SqliteStatement& insert, int64_t shard, uint64_t index, const IndexRow& row) {
  insert.Bind(1, shard).Bind(2, static_cast<int64_t>(index)).Bind(3, row.ts_us);
  for (size_t i = 0; i < std::size(kTexts); ++i) {
    insert.Bind(static_cast<int>(i) + 4, row.*kTexts[i]);
  }
  insert.Bind(14, static_cast<int64_t>(row.tokens_in));
  insert.Bind(15, static_cast<int64_t>(row.tokens_out));
  if (row.admitted.has_value()) {
    insert.Bind(16, static_cast<int64_t>(*row.admitted));
  }
  return insert.Run();
}

}  // namespace

StatusOr<IndexRow> RowOfLeaf(std::string_view leaf) {
  const Json json = Json::parse(leaf, nullptr, /*allow_exceptions=*/false);
  IndexRow row;
  row.type = Text(&json, "t");
  row.tenant = Text(&json, "tenant");
  row.rid = Text(&json, "rid");
  const auto time = ParseTime(Text(&json, "ts"));
  if (row.type.empty() || row.tenant.empty() || row.rid.empty() || !time.ok()) {
    return ErrorF(StatusCode::kDataLoss, "an entry of the log is no leaf");
  }
  row.ts_us = MicrosOf(*time);
  row.actor = Text(Find(json, "actor"), "id");
  row.subj = Text(&json, "subj");
  row.model = Text(Find(json, "model"), "ref");
  row.digest = Text(Find(json, "model"), "digest");
  row.status = Text(&json, "status");
  row.reason = Text(&json, "err");
  row.finish = Text(&json, "finish");
  const Json* const use = Find(json, "use");
  row.tokens_in = use != nullptr ? Number(use, "in") : Number(Find(json, "in"), "n");
  row.tokens_out = Number(use, "out");
  if (Find(json, "adm") != nullptr) {
    row.admitted = Number(&json, "adm");
  }
  return row;
}

StatusOr<std::unique_ptr<AuditIndex>> AuditIndex::Open(const std::string& path) {
  ASSIGN_OR_RETURN(auto database, Sqlite::Open(path));
  RETURN_IF_ERROR(database->Execute(kSchema));
  return std::unique_ptr<AuditIndex>(new AuditIndex(std::move(database)));
}

StatusOr<int64_t> AuditIndex::ShardOf(const std::string& origin, uint64_t& next) {
  ASSIGN_OR_RETURN(auto insert,
                   database_->Prepare("INSERT OR IGNORE INTO shards(origin, next) VALUES(?, 0)"));
  RETURN_IF_ERROR(insert.Bind(1, origin).Run());
  ASSIGN_OR_RETURN(auto select,
                   database_->Prepare("SELECT shard, next FROM shards WHERE origin=?"));
  RETURN_IF_ERROR(select.Bind(1, origin).Step());
  next = static_cast<uint64_t>(select.Integer(1));
  return select.Integer(0);
}

StatusOr<uint64_t> AuditIndex::CatchUp(EntryReader& reader, const Progress& progress) {
  MutexLock lock(mutex_);
  uint64_t next = 0;
  ASSIGN_OR_RETURN(const int64_t shard, ShardOf(reader.origin(), next));
  ASSIGN_OR_RETURN(const uint64_t size, reader.Size());
  const uint64_t first = next;
  ASSIGN_OR_RETURN(
      auto insert,
      database_->Prepare("INSERT INTO leaves VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"));
  ASSIGN_OR_RETURN(auto update, database_->Prepare("UPDATE shards SET next=? WHERE shard=?"));
  while (next < size) {
    const uint64_t last = std::min(size, next + kIndexBatchLeaves);
    const auto fold_leaf = [&](uint64_t index, std::string_view leaf) -> Status {
      const auto row = RowOfLeaf(leaf);
      return row.ok()
                 ? Insert(insert, shard, index, *row)
                 : Annotate(row.status(), absl::StrFormat("%s, leaf %d", reader.origin(), index));
    };
    const Status folded = database_->Transaction([&]() -> Status {
      RETURN_IF_ERROR(reader.Visit(next, last, fold_leaf));
      return update.Bind(1, static_cast<int64_t>(last)).Bind(2, shard).Run();
    });
    RETURN_IF_ERROR(folded);
    next = last;
    if (progress) {
      progress(next, size);
    }
  }
  return next - first;
}

StatusOr<std::vector<IndexRow>> AuditIndex::Search(const IndexQuery& query) {
  const Where where = WhereOf(query);
  const char* const order = query.oldest_first ? "ASC" : "DESC";
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(auto select,
                   database_->Prepare(absl::StrFormat(
                       "SELECT %s FROM leaves NATURAL JOIN shards%s ORDER BY shard %s, idx %s "
                       "LIMIT %d",
                       kColumns,
                       where.sql,
                       order,
                       order,
                       std::clamp(query.rows_max, 1, kSearchRowsMax))));
  BindAll(select, where);
  std::vector<IndexRow> rows;
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, select.Step());
    if (!more) {
      return rows;
    }
    rows.push_back(ReadRow(select));
  }
}

StatusOr<std::vector<UsageRow>> AuditIndex::Usage(const IndexQuery& query) {
  const Where where = WhereOf(query);
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(
      auto select,
      database_->Prepare("SELECT model, digest, sum(type='inference.admitted'), "
                         "sum(type='inference.completed' AND status='OK'), "
                         "sum(type='inference.aborted' OR "
                         "(type='inference.completed' AND status<>'OK')), "
                         "sum(iif(type='inference.completed', tokens_in, 0)), "
                         "sum(iif(type='inference.completed', tokens_out, 0)) "
                         "FROM leaves" +
                         where.sql +
                         " AND type IN ('inference.admitted', 'inference.completed', "
                         "'inference.aborted') GROUP BY model, digest ORDER BY model, digest"));
  BindAll(select, where);
  std::vector<UsageRow> rows;
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, select.Step());
    if (!more) {
      return rows;
    }
    UsageRow& row = rows.emplace_back();
    row.model = select.Text(0);
    row.digest = select.Text(1);
    uint64_t* const numbers[] = {
        &row.requests, &row.completed, &row.failed, &row.tokens_in, &row.tokens_out};
    for (size_t i = 0; i < std::size(numbers); ++i) {
      *numbers[i] = static_cast<uint64_t>(select.Integer(static_cast<int>(i) + 2));
    }
  }
}

StatusOr<std::vector<RefusalRow>> AuditIndex::Refusals(const IndexQuery& query) {
  const Where where = WhereOf(query);
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(auto select,
                   database_->Prepare("SELECT reason, status, count(*) FROM leaves" + where.sql +
                                      " AND type='inference.denied' "
                                      "GROUP BY reason, status ORDER BY count(*) DESC, reason"));
  BindAll(select, where);
  std::vector<RefusalRow> rows;
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, select.Step());
    if (!more) {
      return rows;
    }
    rows.push_back({.reason = std::string(select.Text(0)),
                    .status = std::string(select.Text(1)),
                    .count = static_cast<uint64_t>(select.Integer(2))});
  }
}

StatusOr<Digest> AuditIndex::ContentDigest() {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(
      auto select,
      database_->Prepare(absl::StrFormat(
          "SELECT %s, next FROM leaves NATURAL JOIN shards ORDER BY shard, idx", kColumns)));
  Sha256 hash;
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, select.Step());
    if (!more) {
      return hash.Finish();
    }
    for (int column = 0; column <= 16; ++column) {
      const std::string_view text = select.Text(column);
      hash.Update(absl::StrFormat("%d:%d:", select.IsNull(column), text.size()));
      hash.Update(text);
    }
  }
}

Status RemoveAuditIndex(const std::string& path) {
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    std::error_code error;
    std::filesystem::remove(path + suffix, error);
    if (error) {
      return ErrorF(
          StatusCode::kUnavailable, "%s%s: cannot remove: %s", path, suffix, error.message());
    }
  }
  return OkStatus();
}

}  // namespace inferd
