// AuditWriter: the AuditLog that a daemon has. One thread commits groups of leaves: whatever came
// while the last group was being synced is the next. Another publishes what is durable.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "base/bounded_queue.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "governance/audit/audit_log.h"
#include "governance/audit/log_core.h"

namespace inferd {

class AuditWriter final : public AuditLog {
 public:
  // As LogCore::Open; then starts the threads.
  static StatusOr<std::unique_ptr<AuditWriter>> Open(AuditLogOptions options,
                                                     RecoverySummary* summary = nullptr);
  // Close().
  ~AuditWriter() override;

  void Append(LeafDraft draft, AppendCallback done) override;
  std::string origin() const override { return core_->origin(); }

  // Ends what is queued, writes that the log ends, publishes. Append is refused from here on.
  Status Close();

  // Waits until all leaves durable by now are published.
  Status Flush();

  // Adds cosignatures to the published note. Not from on_checkpoint itself: it holds the publisher.
  Status PublishCosigned(const std::string& note) { return core_->PublishCosigned(note); }

  // A witness has taken the next shard's first checkpoint (AuditLogOptions::on_new_origin).
  void OriginKnown(const std::string& origin) { core_->OriginKnown(origin); }
  // Takes no more leaves until the next start, for this reason: a witness saw another history.
  Status Refuse(const Status& why) { return core_->Refuse(why); }

  // Why the log takes no leaves, if it does not.
  Status status() const { return core_->status(); }
  // How much of the disk is free, as of the last second.
  SpaceLevel space_level() const { return core_->space_level(); }

 private:
  explicit AuditWriter(std::unique_ptr<LogCore> core);
  void Write();
  void CommitInGroups(std::vector<LogCore::Entry> entries);
  void WaitForRoom();
  void PublishLoop();
  bool PublishIsDue() const REQUIRES(mutex_);

  const std::unique_ptr<LogCore> core_;
  BoundedQueue<LogCore::Entry> queue_;

  Mutex mutex_;
  std::condition_variable publish_;    // there may be something to publish
  std::condition_variable published_;  // a round of publishing has ended
  uint64_t rounds_ GUARDED_BY(mutex_) = 0;
  bool flush_ GUARDED_BY(mutex_) = false;
  bool stop_ GUARDED_BY(mutex_) = false;

  bool closed_ = false;  // the owner's thread
  std::thread writer_;
  std::thread publisher_;
};

}  // namespace inferd
