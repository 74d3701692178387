#include "governance/audit/audit_spill.h"

#include <openssl/rand.h>

#include <algorithm>
#include <future>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/file_batch.h"
#include "base/log.h"
#include "base/random.h"
#include "base/ulid.h"
#include "governance/audit/spilled_leaf.h"
#include "governance/audit/wal_format.h"
#include "governance/quota/usage_fold.h"
#include "governance/verify/leaf_view.h"
#include "governance/verify/log_layout.h"
#include "governance/verify/merkle.h"

namespace inferd {
namespace {

constexpr size_t kGroupLeavesMax = 256;
constexpr uint64_t kNumberBits = 32;  // of an id; the bits above are the episode
constexpr auto kRetryInterval = std::chrono::milliseconds(50);

uint64_t IdOf(uint64_t episode, uint64_t number) { return episode << kNumberBits | number; }

bool Ends(LeafType type) {
  return type == LeafType::kInferenceCompleted || type == LeafType::kInferenceAborted;
}

// What tells a leaf from all others: a request has one of each type.
using LeafKey = std::pair<std::string, std::string>;  // type, rid

LeafKey KeyOf(const LeafView& leaf) { return {std::string(leaf.type_name), std::string(leaf.rid)}; }

// Where the log has those of `wanted` that it has. Reads it from its end back to `oldest`, the time
// before which none of them can be there.
StatusOr<std::map<LeafKey, AuditReceipt>> FindInLog(EntryReader& shard,
                                                    const std::set<LeafKey>& wanted,
                                                    const std::string& oldest) {
  std::map<LeafKey, AuditReceipt> found;
  ASSIGN_OR_RETURN(const uint64_t size, shard.Size());
  uint64_t end = size;
  for (bool older = false; end > 0 && !older;) {
    const uint64_t start = (end - 1) / kTileWidth * kTileWidth;
    RETURN_IF_ERROR(shard.Visit(start, end, [&](uint64_t index, std::string_view leaf) -> Status {
      ASSIGN_OR_RETURN(const LeafView view, ParseLeaf(leaf));
      older = older || view.ts < oldest;
      if (const LeafKey key = KeyOf(view); wanted.contains(key)) {
        found[key] = {.origin = shard.origin(), .index = index, .leaf_hash = LeafHash(leaf)};
      }
      return OkStatus();
    }));
    end = start;
  }
  return found;
}

}  // namespace

AuditSpill::AuditSpill(AuditSpillOptions options)
    : options_(std::move(options)), queue_(options_.leaves_max) {}

StatusOr<std::unique_ptr<AuditSpill>> AuditSpill::Open(AuditSpillOptions options) {
  if (options.boot.empty()) {
    options.boot = "unknown";  // every leaf has the member
  }
  std::unique_ptr<AuditSpill> spill(new AuditSpill(std::move(options)));
  RETURN_IF_ERROR(spill->ReadLeft());
  return spill;
}

AuditSpill::~AuditSpill() {
  queue_.Close();
  if (thread_.joinable()) {
    thread_.join();
  }
}

Status AuditSpill::ReadLeft() {
  RETURN_IF_ERROR(CreateFoldersDurably(*options_.files, options_.folder));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, options_.files->List(options_.folder));
  std::vector<WalSegmentBytes> segments;
  for (const std::string& name : names) {
    if (const auto number = WalNumber(name)) {
      ASSIGN_OR_RETURN(std::string bytes,
                       options_.files->Read(options_.folder + '/' + name, kWalSegmentBytesMax));
      segments.push_back({*number, std::move(bytes)});
    }
  }
  std::sort(segments.begin(), segments.end(), [](const auto& a, const auto& b) {
    return a.number < b.number;
  });
  auto contents = ReadWal(std::move(segments), 0);
  if (!contents.ok()) {
    return Annotate(contents.status(), options_.folder);
  }
  MutexLock lock(mutex_);
  for (const std::string_view leaf : contents->leaves) {
    RETURN_IF_ERROR(Annotate(DraftOfSpilled(leaf).status(), options_.folder));
    pending_.emplace_back(leaf);
  }
  return OkStatus();
}

std::set<std::string> AuditSpill::EndedRequests() const {
  std::set<std::string> ended;
  MutexLock lock(mutex_);
  for (const std::string& leaf : pending_) {
    const auto view = ParseLeaf(leaf);
    if (view.ok() && view->type && Ends(*view->type)) {
      ended.emplace(view->rid);
    }
  }
  return ended;
}

Status AuditSpill::Start(AuditLog& log, EntryReader& shard) {
  CHECK(log_ == nullptr);
  log_ = &log;
  std::deque<std::string> left;
  {
    MutexLock lock(mutex_);
    left = std::exchange(pending_, {});
  }
  std::set<LeafKey> wanted;
  std::string oldest;
  for (const std::string& leaf : left) {
    ASSIGN_OR_RETURN(const LeafView view, ParseLeaf(leaf));
    wanted.insert(KeyOf(view));
    oldest = oldest.empty() || view.ts < oldest ? std::string(view.ts) : oldest;
  }
  std::map<LeafKey, AuditReceipt> found;
  if (!left.empty()) {
    ASSIGN_OR_RETURN(found, FindInLog(shard, wanted, oldest));
  }
  std::map<uint64_t, AuditReceipt> begun;  // by number
  std::map<std::string, LeafDraft> open;   // by rid: what ends them
  for (uint64_t number = 0; number < left.size(); ++number) {
    ASSIGN_OR_RETURN(LeafDraft draft, DraftOfSpilled(left[number]));
    const auto place = found.find({std::string(Name(draft.type)), draft.rid.value()});
    AuditReceipt receipt;
    if (place != found.end()) {
      receipt = place->second;
    } else {
      if (draft.admitted && draft.admitted->origin == kSpillOrigin) {
        draft.admitted = begun[draft.admitted->index & ((uint64_t{1} << kNumberBits) - 1)];
      }
      ASSIGN_OR_RETURN(receipt, log.AppendAndWait(draft));
      if (draft.type == LeafType::kInferenceAdmitted) {
        LeafDraft& end = open[draft.rid.value()];
        end.type = LeafType::kInferenceAborted;
        end.tenant = draft.tenant;
        end.rid = draft.rid;
        end.admitted = receipt;
        // What was reserved is charged, as where the log itself closes a request.
        ASSIGN_OR_RETURN(const LeafView view, ParseLeaf(left[number]));
        end.outcome =
            OutcomeFacts{.status = "ABORTED", .err = "crash", .settle = AmountsOf(view.reserved)};
        end.detail["cause"] = std::string("crash");
      }
    }
    if (draft.type == LeafType::kInferenceAdmitted) {
      begun[number] = receipt;
    } else if (Ends(draft.type)) {
      open.erase(draft.rid.value());
    }
  }
  for (auto& [rid, end] : open) {
    RETURN_IF_ERROR(log.AppendAndWait(std::move(end)).status());
  }
  if (!left.empty()) {
    Log(LogLevel::kInfo,
        "audit: spilled leaves are in the log",
        {{"leaves", std::to_string(left.size() - found.size())}});
  }
  RETURN_IF_ERROR(Clear());
  thread_ = std::thread([this] { Run(); });
  return OkStatus();
}

// Everything here is in the log.
Status AuditSpill::Clear() {
  wal_.reset();
  ASSIGN_OR_RETURN(const std::vector<std::string> names, options_.files->List(options_.folder));
  // From the last to the first, so that what a crash leaves begins with the first leaf.
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    if (WalNumber(*name)) {
      RETURN_IF_ERROR(options_.files->Remove(options_.folder + '/' + *name));
      RETURN_IF_ERROR(options_.files->SyncFolder(options_.folder));
    }
  }
  ++episode_;
  next_ = 0;
  MutexLock lock(mutex_);
  first_pending_ = 0;
  return OkStatus();
}

void AuditSpill::MakeWal() {
  wal_ = std::make_unique<WalWriter>(WalWriter::Options{.files = options_.files,
                                                        .folder = options_.folder,
                                                        .segment_bytes = options_.segment_bytes,
                                                        .first_number = 0,
                                                        .first_group = 1});
}

bool AuditSpill::TakeIfActive(LeafDraft& draft, AppendCallback& done) {
  MutexLock lock(mutex_);
  if (draft.admitted && draft.admitted->origin == kSpillOrigin) {
    if (const auto begun = begun_.find(draft.admitted->index); begun != begun_.end()) {
      draft.admitted = begun->second;
      begun_.erase(begun);
    }
  }
  if (!active_) {
    return false;
  }
  Entry entry{std::move(draft), std::move(done)};
  if (!queue_.TryPush(std::move(entry))) {
    entry.done(ErrorF(StatusCode::kUnavailable, "audit log: the spill is full"));
  }
  return true;
}

void AuditSpill::Take(LeafDraft draft, AppendCallback done) {
  Entry entry{std::move(draft), std::move(done)};
  {
    MutexLock lock(mutex_);
    if (!active_) {
      active_ = true;
      active_since_ = options_.clock->Now();
      Log(LogLevel::kError,
          "audit: the log takes no leaves, guarded tenants' are spilled",
          {{"folder", options_.folder}});
    }
    if (queue_.TryPush(std::move(entry))) {
      return;
    }
  }
  entry.done(ErrorF(StatusCode::kUnavailable, "audit log: the spill is full or closed"));
}

size_t AuditSpill::num_pending() const {
  MutexLock lock(mutex_);
  return pending_.size();
}

void AuditSpill::Run() {
  while (true) {
    std::vector<Entry> entries = queue_.WaitAndDrain(kRetryInterval);
    const bool last = entries.empty() && queue_.closed();
    for (size_t start = 0; start < entries.size(); start += kGroupLeavesMax) {
      const size_t end = std::min(entries.size(), start + kGroupLeavesMax);
      Write({std::make_move_iterator(entries.begin() + static_cast<ptrdiff_t>(start)),
             std::make_move_iterator(entries.begin() + static_cast<ptrdiff_t>(end))});
    }
    if (last || !Drain()) {
      if (last) {
        return;
      }
      continue;
    }
    bool active = false;
    {
      MutexLock lock(mutex_);
      active = active_;
    }
    if (!active) {
      continue;
    }
    if (wal_ != nullptr && !Clear().ok()) {
      broken_ = true;
    }
    MutexLock lock(mutex_);
    active_ = queue_.size() > 0 || !pending_.empty();
    if (!active_) {
      Log(LogLevel::kInfo, "audit: the log takes leaves again; spilled ones are in it", {});
    }
  }
}

Status AuditSpill::CheckBounds(size_t num_more) {
  MutexLock lock(mutex_);
  if (broken_) {
    return ErrorF(StatusCode::kUnavailable, "audit log: the spill's device failed, too");
  }
  if (pending_.size() + num_more >= options_.leaves_max) {
    return ErrorF(
        StatusCode::kUnavailable, "audit log: %d leaves are spilled already", pending_.size());
  }
  return options_.clock->Now() - active_since_ > options_.time_max
             ? ErrorF(StatusCode::kUnavailable, "audit log: leaves were spilled for long enough")
             : OkStatus();
}

// Makes a group durable, then tells each.
void AuditSpill::Write(std::vector<Entry> entries) {
  std::vector<std::string> leaves;
  std::vector<std::pair<AppendCallback, AuditReceipt>> told;
  for (Entry& entry : entries) {
    LeafChain chain{.origin = kSpillOrigin, .node = options_.node, .boot = options_.boot};
    CHECK(RAND_bytes(chain.nonce.data(), static_cast<int>(chain.nonce.size())) == 1);
    chain.wall = options_.clock->WallNow();
    chain.since_boot = options_.clock->Now().time_since_epoch();
    if (entry.draft.rid.value().empty()) {
      entry.draft.rid = RequestId(NewUlid(chain.wall));
    }
    const Status bounds = CheckBounds(leaves.size());
    StatusOr<std::string> leaf =
        bounds.ok() ? EncodeLeaf(entry.draft, chain) : StatusOr<std::string>(bounds);
    if (!leaf.ok()) {
      entry.done(leaf.status());
      continue;
    }
    told.emplace_back(std::move(entry.done),
                      AuditReceipt{.origin = std::string(kSpillOrigin),
                                   .index = IdOf(episode_, next_ + leaves.size()),
                                   .leaf_hash = LeafHash(*leaf)});
    leaves.push_back(*std::move(leaf));
  }
  if (leaves.empty()) {
    return;
  }
  if (wal_ == nullptr) {
    MakeWal();
  }
  const Status written = wal_->Commit(next_, leaves);
  if (written.ok()) {
    next_ += leaves.size();
    MutexLock lock(mutex_);
    for (std::string& leaf : leaves) {
      pending_.push_back(std::move(leaf));
    }
  } else {
    broken_ = true;
  }
  for (auto& [done, receipt] : told) {
    done(written.ok() ? StatusOr<AuditReceipt>(std::move(receipt))
                      : ErrorF(StatusCode::kUnavailable, "audit spill: %s", Message(written)));
  }
}

bool AuditSpill::Drain() {
  while (true) {
    std::vector<std::string> leaves;
    {
      MutexLock lock(mutex_);
      const size_t count = std::min(pending_.size(), kGroupLeavesMax);
      leaves.assign(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(count));
    }
    if (leaves.empty()) {
      return true;
    }
    const size_t count = leaves.size();
    if (DrainSome(std::move(leaves)) < count) {
      return false;
    }
  }
}

// Puts leaves into the log, in order; returns how many it took. An end waits for its beginning.
size_t AuditSpill::DrainSome(std::vector<std::string> leaves) {
  uint64_t number = 0;
  {
    MutexLock lock(mutex_);
    number = first_pending_;
  }
  size_t taken = 0;
  for (const std::string& leaf : leaves) {
    auto draft = DraftOfSpilled(leaf);
    CHECK(draft.ok());  // written here
    if (draft->admitted && draft->admitted->origin == kSpillOrigin) {
      MutexLock lock(mutex_);
      draft->admitted = begun_[draft->admitted->index];
    }
    const auto receipt = log_->AppendAndWait(*draft);
    if (!receipt.ok()) {
      break;
    }
    NoteDrained(*draft, IdOf(episode_, number), *receipt);
    ++number;
    ++taken;
  }
  return taken;
}

void AuditSpill::NoteDrained(const LeafDraft& draft, uint64_t id, const AuditReceipt& receipt) {
  MutexLock lock(mutex_);
  pending_.pop_front();
  ++first_pending_;
  if (draft.type == LeafType::kInferenceAdmitted) {
    begun_[id] = receipt;
  } else if (Ends(draft.type)) {
    std::erase_if(begun_, [&draft](const auto& begun) { return begun.second == draft.admitted; });
  }
}

}  // namespace inferd
