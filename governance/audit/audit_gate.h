// AuditGate: stands before the log and does what a failing disk and a flood of refusals ask for.
//
// Floods: of the leaves authn.failed and inference.denied, 100 of each (tenant, reason) are written
// a minute; the others are counted and written as denied.summary, every ten seconds. So nobody
// fills the disk with refusals, and nothing is dropped unseen.
//
// Modes: leaves of mode best_effort succeed although the log is unavailable; how many are missing
// is written as log.gap as soon as it takes leaves again. Those of mode guarded go to the spill, if
// there is one and as far as it goes. All others are refused (kUnavailable), and so must be what
// they are about.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/thread_annotations.h"
#include "governance/audit/audit_log.h"
#include "governance/audit/audit_spill.h"

namespace inferd {

inline constexpr uint64_t kFloodLeavesPerMinute = 100;
inline constexpr Duration kFloodSummaryInterval = std::chrono::seconds(10);
inline constexpr size_t kFloodKeysMax = 4096;
inline constexpr size_t kFloodSourcesMax = 256;  // counted in one summary
inline constexpr size_t kFloodTopSources = 5;    // named in it

// Thread-safe. The log is closed before the gate goes: until then it calls back.
class AuditGate final : public AuditLog {
 public:
  // `spill` may be nullptr; it outlives the last callback of the log.
  AuditGate(AuditLog& log, const Clock& clock, AuditSpill* spill = nullptr)
      : log_(log), clock_(clock), spill_(spill) {}

  // A receipt without origin means: counted, and not a leaf of its own. One of kSpillOrigin:
  // durable, and to be in the log when that takes leaves again.
  void Append(LeafDraft draft, AppendCallback done) override;
  std::string origin() const override { return log_.origin(); }

  // Writes the summaries and gaps that are due. The owner calls it about every second, and before
  // the log is closed with `all`.
  void Tick(bool all = false);

  // Leaves of mode best_effort that are missing so far, for metrics.
  uint64_t num_lost() const;

 private:
  struct Flood {
    TimePoint minute;
    uint64_t written = 0;  // in this minute
    uint64_t folded = 0;   // since the last summary
    TimePoint folded_since;
    WallTime first;
    WallTime last;
    std::map<std::string, uint64_t> sources;
  };
  struct Gap {
    WallTime from;
    WallTime to;
    uint64_t count = 0;
  };
  using Key = std::pair<std::string, std::string>;  // tenant, reason

  void AppendGuarded(LeafDraft draft, AppendCallback done);
  bool Fold(const LeafDraft& draft) EXCLUDES(mutex_);
  void Lost() EXCLUDES(mutex_);
  void Regained() EXCLUDES(mutex_);
  static LeafDraft Summary(const Key& key, const Flood& flood);

  AuditLog& log_;
  const Clock& clock_;
  AuditSpill* const spill_;
  mutable Mutex mutex_;
  std::map<Key, Flood> floods_ GUARDED_BY(mutex_);
  std::optional<Gap> gap_ GUARDED_BY(mutex_);
  uint64_t num_lost_ GUARDED_BY(mutex_) = 0;
};

}  // namespace inferd
