// AuditIndex: what search and reports ask instead of reading the whole log. Folded from the log's
// leaves, never evidence: whoever needs proof takes the index's answer to the log. Deleting the
// file loses nothing; `inferd --rebuild-index` makes the same one again.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "governance/sqlite.h"
#include "governance/verify/entry_reader.h"

namespace inferd {

inline constexpr uint64_t kIndexBatchLeaves = 4096;  // in one transaction
inline constexpr int kSearchRowsMax = 1000;

// What the index keeps of a leaf. Empty: the leaf has no such field.
struct IndexRow {
  std::string origin;
  uint64_t index = 0;
  int64_t ts_us = 0;  // since 1970
  std::string type, tenant, rid, actor, subj;
  std::string model, digest;  // as asked for; "sha256:<hex>"
  std::string status, reason, finish;
  uint64_t tokens_in = 0, tokens_out = 0;
  std::optional<uint64_t> admitted;  // index of the admitted leaf
};

// Everything that is set must match.
struct IndexQuery {
  std::string tenant{}, type{}, rid{}, actor{}, model{}, reason{},
      subj{};                            // model: the name or the digest
  std::string type_prefix{};             // "inference."
  std::optional<WallTime> from{}, to{};  // [from, to)
  bool administrative = false;           // leave out requests, sums of refusals and heartbeats
  // Continue behind this row (older, or newer if `oldest_first`).
  struct Place {
    std::string origin;
    uint64_t index = 0;
  };
  std::optional<Place> after{};
  bool oldest_first = false;
  int rows_max = 100;  // at most kSearchRowsMax
};

// Sums for a report.
struct UsageRow {
  std::string model, digest;
  uint64_t requests = 0, completed = 0, failed = 0;
  uint64_t tokens_in = 0, tokens_out = 0;
};
struct RefusalRow {
  std::string reason, status;
  uint64_t count = 0;
};

// Thread-safe; calls block on the disk.
class AuditIndex {
 public:
  static StatusOr<std::unique_ptr<AuditIndex>> Open(const std::string& path);

  // Folds in what the reader has and the index has not. Shards come in their order, each under its
  // origin. Returns how many leaves were new. kDataLoss names the leaf that cannot be read.
  using Progress = std::function<void(uint64_t done, uint64_t total)>;
  StatusOr<uint64_t> CatchUp(EntryReader& reader, const Progress& progress = {}) EXCLUDES(mutex_);

  StatusOr<std::vector<IndexRow>> Search(const IndexQuery& query) EXCLUDES(mutex_);
  StatusOr<std::vector<UsageRow>> Usage(const IndexQuery& query) EXCLUDES(mutex_);
  StatusOr<std::vector<RefusalRow>> Refusals(const IndexQuery& query) EXCLUDES(mutex_);

  // Over all rows: two indexes of the same log have the same.
  StatusOr<Digest> ContentDigest() EXCLUDES(mutex_);

 private:
  explicit AuditIndex(std::unique_ptr<Sqlite> database) : database_(std::move(database)) {}
  StatusOr<int64_t> ShardOf(const std::string& origin, uint64_t& next) REQUIRES(mutex_);

  Mutex mutex_;
  const std::unique_ptr<Sqlite> database_;
};

// The row of a leaf. kDataLoss if it is no leaf.
StatusOr<IndexRow> RowOfLeaf(std::string_view leaf);

// Removes the index at `path` and what SQLite keeps beside it.
Status RemoveAuditIndex(const std::string& path);

}  // namespace inferd
