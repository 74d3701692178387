// LogCore: the log of one node without threads of its own: drafts become durable leaves, durable
// leaves a published tree, shard after shard. AuditWriter (audit_writer.h) gives it its threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/file_system.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "governance/audit/audit_log.h"
#include "governance/audit/chain_snapshot.h"
#include "governance/audit/disk_reserve.h"
#include "governance/audit/leaf.h"
#include "governance/audit/publisher.h"
#include "governance/audit/shard_recovery.h"
#include "governance/audit/wal.h"
#include "governance/verify/chain_checker.h"
#include "governance/verify/log_layout.h"
#include "governance/verify/note.h"

namespace inferd {

struct AuditLogOptions {
  FileSystem* files = &SystemFiles();
  const Clock* clock = &SystemClock();
  // Holds log/ and state/; made if it is not there.
  std::string folder{};
  // The log's name, and the key's: <org>/inferd-audit/<node>. Origins are <name>/<shard>.
  std::string name{};
  std::string node{};
  // Id of the machine's boot (ReadBootId).
  std::string boot{};
  // Signs checkpoints; lives longer than the log.
  const NoteSigner* signer = nullptr;
  // A segment of the WAL. More costs disk, and time to read it after a crash.
  uint64_t segment_bytes = 16 << 20;
  // Leaves in one write. More raises throughput and the latency of each.
  size_t group_leaves_max = 256;
  // Leaves that wait for a place in the WAL; beyond, Append refuses.
  size_t queue_leaves_max = 16'384;
  // Durable leaves that wait for the publisher; beyond, the writer waits for it.
  size_t unpublished_leaves_max = 65'536;
  // A checkpoint comes after this time or this many leaves.
  Duration checkpoint_interval = std::chrono::seconds(1);
  size_t checkpoint_leaves = 4096;
  // After so many leaves the ends of the chains are kept beside the log, so that a start reads no
  // more of it than that. Less costs a file each time, of about 100 bytes a tenant.
  uint64_t snapshot_leaves = 65'536;
  Duration heartbeat_interval = std::chrono::seconds(60);
  // A shard ends with its quarter, or here.
  uint64_t shard_leaves_max = uint64_t{1} << 28;
  // When little of the disk is free: below the last of them only log.* and administrative leaves
  // are taken.
  SpaceThresholds space{};
  // Held back for those leaves; given back when the disk is full. 0: none.
  uint64_t reserve_bytes = uint64_t{256} << 20;
  // Requests (rid) that have no end in the log, and will get one: from the spill.
  std::set<std::string> ended_elsewhere{};
  // After ROLLBACK_DETECTED two operators may start a new shard; its genesis cites the conflict.
  bool start_new_shard_after_conflict = false;
  // Gets each published note, on the publisher's thread: for witnesses.
  std::function<void(const std::string& note)> on_checkpoint{};
  // Gets the signed checkpoint of the next shard, without leaves yet, before log.frozen ends this
  // one: for witnesses. On the committing thread: it must return at once. The shard ends when
  // OriginKnown was called, or after announce_wait_max.
  std::function<void(const std::string& note)> on_new_origin{};
  Duration announce_wait_max = std::chrono::seconds(10);
};

// What opening found, for the daemon's log and for log.recovered.
struct RecoverySummary {
  bool recovered = false;
  uint64_t frames = 0;
  uint64_t torn_bytes = 0;
  uint64_t closed = 0;         // open requests that got inference.aborted
  uint64_t snapshot_size = 0;  // leaves that were not read, thanks to a snapshot of the chains
  std::string conflict;
};

// Commit, Heartbeat and Close by one thread, Publish and CheckSpace by one other (or the same).
// After any error of the file system everything fails: what lies on the device is unknown.
class LogCore {
 public:
  struct Entry {
    LeafDraft draft;
    AppendCallback done;
  };

  // Recovers, closes what a crash left open, and writes log.recovered. kFailedPrecondition if
  // another process has the log; kDataLoss as RecoverShard.
  static StatusOr<std::unique_ptr<LogCore>> Open(AuditLogOptions options,
                                                 RecoverySummary* summary = nullptr);
  ~LogCore();

  // Makes all durable, then tells each. At most group_leaves_max.
  void Commit(std::vector<Entry> entries);
  // Writes log.heartbeat.
  void Heartbeat();
  // Starts a new shard if its quarter is over or it is full.
  void RotateIfDue();
  // A witness has taken the checkpoint that on_new_origin got. Any thread.
  void OriginKnown(const std::string& origin);
  // Writes that the log ends in order, publishes, and removes the WAL.
  Status Close();

  // Puts what is durable into the tree and signs it.
  Status Publish();
  // Publishes a note with cosignatures of witnesses, if it is of the last checkpoint still. Any
  // thread.
  Status PublishCosigned(const std::string& note);
  // Takes no more leaves, for this reason. Any thread.
  Status Refuse(const Status& why) { return Fail(why); }
  // Compares free space with the thresholds, and fills the reserve again once there is space.
  Status CheckSpace();
  // Writes log.mode if CheckSpace found another level.
  void RecordSpace();
  // As CheckSpace found it. Any thread.
  SpaceLevel space_level() const { return space_level_.load(); }
  // Makes the WAL's next segment ahead of its use.
  Status PrepareSpare();

  // Why the log takes no more leaves, if it does not. Any thread.
  Status status() const;
  // Any thread.
  std::string origin() const;
  // Durable leaves that are not published. Any thread.
  size_t num_unpublished() const;
  // May this draft be taken, as far as disk space goes? Any thread.
  Status CheckRoom(const LeafDraft& draft) const;
  const AuditLogOptions& options() const { return options_; }

 private:
  struct Durable {
    std::string leaf;
    Digest hash;
  };
  explicit LogCore(AuditLogOptions options);
  Status Start(RecoverySummary& summary);
  StatusOr<std::set<ShardName>> ListShards() const;
  Status FollowOlderShards(const std::set<ShardName>& shards, ChainChecker& chains) const;
  Status StartAfterConflict(const Status& conflict,
                            const ShardName& last,
                            RecoverySummary& summary);
  Status CloseIntents(const ChainChecker& chains, RecoverySummary& summary);
  Status StartShard(const ShardName& shard, std::map<std::string, LeafDetail> genesis);
  void Continue(const ShardName& shard, const ChainChecker& chains, RecoveredShard recovered);
  void FollowIntent(const LeafDraft& draft, std::string_view leaf, uint64_t index);
  ChainSnapshot TakeSnapshot();
  void KeepSnapshot(const ChainSnapshot& snapshot) REQUIRES(publish_mutex_);
  void MakeWal(uint64_t next_number, uint64_t next_group);
  Status CommitLogLeaf(LeafType type, std::map<std::string, LeafDetail> detail);
  Status CommitDrafts(std::vector<LeafDraft> drafts, std::vector<StatusOr<AuditReceipt>>* receipts);
  StatusOr<std::string> Encode(LeafDraft& draft);
  bool Announced(const ShardName& next);
  Status Rotate(const ShardName& next);
  Status PublishLocked() REQUIRES(publish_mutex_);
  Status Fail(Status status);

  const AuditLogOptions options_;
  DiskReserve files_;
  std::unique_ptr<FileLock> lock_;

  // Committing thread.
  ShardName shard_;
  uint64_t next_index_ = 0;
  ChainChecker::Chains chains_;  // by the tenant's name, not as JSON has it
  // Requests without an end, by their admitted leaf's origin and index.
  std::map<std::pair<std::string, uint64_t>, ChainChecker::Intent> open_;
  uint64_t snapshot_at_ = 0;   // size of the shard at the last snapshot of the chains
  bool snapshot_due_ = false;  // whatever that size
  std::unique_ptr<WalWriter> wal_;
  bool closed_ = false;

  std::atomic<SpaceLevel> space_level_{SpaceLevel::kPlenty};
  std::atomic<bool> space_changed_{false};

  mutable Mutex mutex_;
  std::deque<Durable> durable_ GUARDED_BY(mutex_);
  std::optional<ChainSnapshot> snapshot_ GUARDED_BY(mutex_);  // of the leaves up to durable_'s end
  size_t num_publishing_ GUARDED_BY(mutex_) = 0;  // taken from durable_, not published yet
  std::string origin_ GUARDED_BY(mutex_);
  std::string announced_ GUARDED_BY(mutex_);  // origin of the next shard, as witnesses were told
  TimePoint announced_at_ GUARDED_BY(mutex_);
  bool announced_known_ GUARDED_BY(mutex_) = false;
  Status status_ GUARDED_BY(mutex_);

  // Held while publishing; taken before mutex_.
  Mutex publish_mutex_;
  std::unique_ptr<Publisher> publisher_ GUARDED_BY(publish_mutex_);
};

// The shard that a leaf of this time belongs to, serial 0.
ShardName QuarterOf(WallTime time);

// Id of this boot of the machine; empty where the kernel does not tell.
std::string ReadBootId();

}  // namespace inferd
