#include "governance/audit/audit_writer.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace inferd {

StatusOr<std::unique_ptr<AuditWriter>> AuditWriter::Open(AuditLogOptions options,
                                                         RecoverySummary* summary) {
  ASSIGN_OR_RETURN(std::unique_ptr<LogCore> core, LogCore::Open(std::move(options), summary));
  return std::unique_ptr<AuditWriter>(new AuditWriter(std::move(core)));
}

AuditWriter::AuditWriter(std::unique_ptr<LogCore> core)
    : core_(std::move(core)), queue_(core_->options().queue_leaves_max) {
  writer_ = std::thread([this] { Write(); });
  publisher_ = std::thread([this] { PublishLoop(); });
}

AuditWriter::~AuditWriter() { (void)Close(); }

void AuditWriter::Append(LeafDraft draft, AppendCallback done) {
  Status status = core_->status();
  if (status.ok()) {
    status = core_->CheckRoom(draft);
  }
  if (status.ok()) {
    status = Validate(draft);
  }
  if (!status.ok()) {
    done(status);
    return;
  }
  LogCore::Entry entry{std::move(draft), std::move(done)};
  if (!queue_.TryPush(std::move(entry))) {
    entry.done(queue_.closed() ? ErrorF(StatusCode::kUnavailable, "audit log: it is closing")
                               : ErrorF(StatusCode::kUnavailable,
                                        "audit log: %d leaves wait for the disk already; try again",
                                        queue_.capacity()));
  }
}

void AuditWriter::Write() {
  const AuditLogOptions& options = core_->options();
  TimePoint heartbeat = options.clock->Now() + options.heartbeat_interval;
  while (true) {
    const TimePoint now = options.clock->Now();
    if (now >= heartbeat) {
      core_->Heartbeat();
      heartbeat = now + options.heartbeat_interval;
      publish_.notify_one();
    }
    core_->RotateIfDue();
    core_->RecordSpace();
    // At most a second, so that a clock that is set, or that a test moves, is seen.
    const Duration wait = std::min<Duration>(heartbeat - now, std::chrono::seconds(1));
    std::vector<LogCore::Entry> entries =
        queue_.WaitAndDrain(std::max<Duration>(wait, std::chrono::milliseconds(1)));
    if (!entries.empty()) {
      CommitInGroups(std::move(entries));
    } else if (queue_.closed()) {
      return;
    }
  }
}

void AuditWriter::CommitInGroups(std::vector<LogCore::Entry> entries) {
  const size_t group_max = core_->options().group_leaves_max;
  for (size_t start = 0; start < entries.size(); start += group_max) {
    const size_t end = std::min(entries.size(), start + group_max);
    WaitForRoom();
    core_->Commit({std::make_move_iterator(entries.begin() + static_cast<ptrdiff_t>(start)),
                   std::make_move_iterator(entries.begin() + static_cast<ptrdiff_t>(end))});
    publish_.notify_one();
  }
}

// The publisher is slower than the writer: what is not published must stay bounded.
void AuditWriter::WaitForRoom() {
  MutexLock lock(mutex_);
  while (core_->num_unpublished() >= core_->options().unpublished_leaves_max &&
         core_->status().ok()) {
    published_.wait_for(lock.std_lock(), std::chrono::milliseconds(100));
  }
}

bool AuditWriter::PublishIsDue() const {
  return stop_ || flush_ || core_->num_unpublished() >= core_->options().checkpoint_leaves;
}

void AuditWriter::PublishLoop() {
  while (true) {
    bool stop = false;
    {
      MutexLock lock(mutex_);
      publish_.wait_for(lock.std_lock(),
                        core_->options().checkpoint_interval,
                        [this]() NO_THREAD_SAFETY_ANALYSIS { return PublishIsDue(); });
      stop = stop_;
      flush_ = false;
    }
    (void)core_->Publish();  // what fails, fails the log: status() tells
    (void)core_->PrepareSpare();
    (void)core_->CheckSpace();
    {
      MutexLock lock(mutex_);
      ++rounds_;
    }
    published_.notify_all();
    if (stop) {
      return;
    }
  }
}

Status AuditWriter::Flush() {
  MutexLock lock(mutex_);
  // The round under way may have begun before: the one after it has all.
  const uint64_t enough = rounds_ + 2;
  while (rounds_ < enough && core_->num_unpublished() > 0 && core_->status().ok()) {
    flush_ = true;
    publish_.notify_one();
    published_.wait_for(lock.std_lock(), std::chrono::milliseconds(100));
  }
  return core_->status();
}

Status AuditWriter::Close() {
  if (closed_) {
    return core_->status();
  }
  closed_ = true;
  queue_.Close();
  writer_.join();
  {
    MutexLock lock(mutex_);
    stop_ = true;
  }
  publish_.notify_one();
  publisher_.join();
  return core_->Close();
}

}  // namespace inferd
