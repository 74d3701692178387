// AuditSpill: where leaves of mode guarded go while the log takes none: a bounded number, for a
// bounded time, in a folder that should be on another device. When the log takes leaves again they
// are put into it, in their order.
//
// What is spilled is durable before its caller is told (the spill is a write-ahead log, see
// docs/formats/wal.md), and survives the process: Recover puts it into the log of the next one.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "governance/audit/audit_log.h"
#include "governance/audit/wal.h"
#include "governance/verify/entry_reader.h"

namespace inferd {

struct AuditSpillOptions {
  FileSystem* files = &SystemFiles();
  const Clock* clock = &SystemClock();
  std::string folder{};  // made if it is not there
  std::string node{};
  std::string boot{};
  uint64_t segment_bytes = 4 << 20;
  // Then guarded is strict, until the log has taken what is here.
  size_t leaves_max = 10'000;
  Duration time_max = std::chrono::seconds(5);
};

// Thread-safe. The log outlives it.
class AuditSpill {
 public:
  // Reads what the last process left. kDataLoss if it cannot be read.
  static StatusOr<std::unique_ptr<AuditSpill>> Open(AuditSpillOptions options);
  ~AuditSpill();  // what is not in the log stays in the folder

  // Requests whose end is in the spill: a log that starts must not close them
  // (AuditLogOptions::ended_elsewhere). Before Start.
  std::set<std::string> EndedRequests() const;

  // Puts what the last process left into the log, but for what that process had put there already,
  // ends requests that have no end, and begins to take leaves. `shard` reads the log's last shard:
  // it must be the one that took leaves when that process ended.
  Status Start(AuditLog& log, EntryReader& shard);

  // Takes a leaf if leaves are in the spill already, so that it stays behind them; false, and the
  // draft untouched, if the log is to be asked. A leaf that ends a spilled request is given the
  // place of that request's beginning.
  bool TakeIfActive(LeafDraft& draft, AppendCallback& done) EXCLUDES(mutex_);
  // Takes a leaf that the log refused. `done` gets a receipt of kSpillOrigin, or kUnavailable.
  void Take(LeafDraft draft, AppendCallback done) EXCLUDES(mutex_);

  // Leaves here that the log does not have.
  size_t num_pending() const EXCLUDES(mutex_);

 private:
  struct Entry {
    LeafDraft draft;
    AppendCallback done;
  };
  explicit AuditSpill(AuditSpillOptions options);
  Status ReadLeft();
  void MakeWal();
  Status Clear();
  void Run();
  void Write(std::vector<Entry> entries) EXCLUDES(mutex_);
  Status CheckBounds(size_t num_more) EXCLUDES(mutex_);
  // True if the log has taken all of it.
  bool Drain() EXCLUDES(mutex_);
  size_t DrainSome(std::vector<std::string> leaves) EXCLUDES(mutex_);
  void NoteDrained(const LeafDraft& draft, uint64_t id, const AuditReceipt& receipt)
      EXCLUDES(mutex_);

  const AuditSpillOptions options_;
  AuditLog* log_ = nullptr;  // constant after Start
  BoundedQueue<Entry> queue_;

  // The spill's thread.
  std::unique_ptr<WalWriter> wal_;
  uint64_t episode_ = 0;  // counts how often the spill was emptied
  uint64_t next_ = 0;     // number of the next leaf of this episode
  bool broken_ = false;   // its device failed

  mutable Mutex mutex_;
  std::deque<std::string> pending_ GUARDED_BY(mutex_);  // durable here, not in the log
  uint64_t first_pending_ GUARDED_BY(mutex_) = 0;       // number of pending_.front()
  bool active_ GUARDED_BY(mutex_) = false;
  TimePoint active_since_ GUARDED_BY(mutex_);
  // Requests that began in the spill and have not ended: where the log has them.
  std::map<uint64_t, AuditReceipt> begun_ GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace inferd
