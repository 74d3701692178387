// UsageFold: what each account used, computed from the leaves of the audit log. It starts at the
// log's beginning or at a quota.snapshot leaf, and needs nothing but the log: whoever doubts a
// ledger's counters folds them again. docs/formats/quota.md has the rules and the snapshot.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "governance/quota/usage.h"
#include "governance/verify/entry_reader.h"
#include "governance/verify/leaf_view.h"

namespace inferd {

// A place in a log of several shards: the leaf `index` of the shard `origin`.
struct LogPlace {
  std::string origin{};
  uint64_t index = 0;
  friend auto operator<=>(const LogPlace&, const LogPlace&) = default;
};

// What stands in the `d` of one quota.snapshot leaf; a snapshot is as many as it needs.
struct UsageSnapshotPart {
  LogPlace at{};         // usage as of all leaves before this one
  LogPlace open_from{};  // no request that was open then was admitted before this leaf
  uint64_t part = 0;     // from 0
  uint64_t num_parts = 1;
  std::vector<std::string> rows{};  // one account each
};

// One thread at a time.
class UsageFold {
 public:
  // Shards in their order. kDataLoss names a leaf that cannot be read or settles more than was
  // reserved; the fold is of no use then.
  Status Add(const std::string& origin, uint64_t index, std::string_view leaf);
  // Adds what the reader has and the fold has not, of the shard it stands in or the next one.
  // Returns how many leaves were new.
  StatusOr<uint64_t> CatchUp(EntryReader& reader);

  // From the last whole snapshot in these shards, oldest first, or from their beginning if there
  // is none. Reads backwards to find it, so that a long log costs no more than its end.
  static StatusOr<UsageFold> Restore(const std::vector<EntryReader*>& shards);

  const UsageByAccount& usage() const { return usage_; }
  // Behind the last leaf added.
  const LogPlace& place() const { return place_; }
  size_t num_open() const { return open_.size(); }

  // As parts that fit a leaf each.
  std::vector<UsageSnapshotPart> Snapshot() const;

 private:
  struct Open {
    QuotaAccount account;
    UtcDay day = 0;
    QuotaAmounts upper_bound;
    uint64_t order = 0;  // of admission: shards' names do not sort
  };
  Status Admit(const LeafView& leaf, LogPlace place);
  Status End(const LeafView& leaf, const std::string& origin);

  UsageByAccount usage_;
  std::map<LogPlace, Open> open_;
  LogPlace place_;
  uint64_t next_order_ = 0;
  // Before a snapshot's place only what is open counts: the sums are in the snapshot.
  bool sums_ = true;
};

// What an admitted leaf reserved, and for whom. Nothing: it is exempt. kDataLoss: not as written.
struct QuotaIntent {
  QuotaAccount account{};
  UtcDay day = 0;
  QuotaAmounts upper_bound{};
};
StatusOr<std::optional<QuotaIntent>> IntentOf(const LeafView& admitted);
// `quota.res` or `settle` of a leaf, as JSON; what is not there is 0.
QuotaAmounts AmountsOf(std::string_view json);
// What a completed or aborted leaf settled.
QuotaAmounts SettledOf(const LeafView& ended);

// The part in a leaf's `d`; kDataLoss if it is none.
StatusOr<UsageSnapshotPart> ParseSnapshotPart(std::string_view detail);

inline constexpr size_t kSnapshotRowsMax = 64;           // of one part
inline constexpr size_t kSnapshotBytesMax = 12 * 1024;   // of its rows
inline constexpr uint64_t kSnapshotSearchLeaves = 4096;  // read at a time, backwards

}  // namespace inferd
