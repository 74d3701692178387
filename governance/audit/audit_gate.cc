#include "governance/audit/audit_gate.h"

#include <algorithm>

#include "governance/audit/canonical_json.h"

namespace inferd {
namespace {

bool IsRefusal(LeafType type) {
  return type == LeafType::kAuthnFailed || type == LeafType::kInferenceDenied;
}

std::string ReasonOf(const LeafDraft& draft) {
  return draft.outcome && !draft.outcome->err.empty() ? draft.outcome->err
                                                      : std::string(Name(draft.type));
}

}  // namespace

void AuditGate::Append(LeafDraft draft, AppendCallback done) {
  if (IsRefusal(draft.type) && Fold(draft)) {
    done(AuditReceipt());
    return;
  }
  if (draft.mode == AuditMode::kGuarded && spill_ != nullptr) {
    AppendGuarded(std::move(draft), std::move(done));
    return;
  }
  const bool best_effort = draft.mode == AuditMode::kBestEffort;
  log_.Append(std::move(draft),
              [this, best_effort, done = std::move(done)](StatusOr<AuditReceipt> receipt) {
                if (receipt.ok()) {
                  Regained();
                } else if (best_effort && receipt.status().code() == StatusCode::kUnavailable) {
                  Lost();
                  receipt = AuditReceipt();
                }
                done(std::move(receipt));
              });
}

void AuditGate::AppendGuarded(LeafDraft draft, AppendCallback done) {
  if (spill_->TakeIfActive(draft, done)) {
    return;
  }
  LeafDraft copy = draft;
  log_.Append(std::move(draft),
              [this, copy = std::move(copy), done = std::move(done)](
                  StatusOr<AuditReceipt> receipt) mutable {
                if (receipt.ok()) {
                  Regained();
                } else if (receipt.status().code() == StatusCode::kUnavailable) {
                  spill_->Take(std::move(copy), std::move(done));
                  return;
                }
                done(std::move(receipt));
              });
}

// Counts a refusal; true if it is one too many to be written by itself.
bool AuditGate::Fold(const LeafDraft& draft) {
  const TimePoint now = clock_.Now();
  MutexLock lock(mutex_);
  Key key{draft.tenant.value(), ReasonOf(draft)};
  if (floods_.size() >= kFloodKeysMax && !floods_.contains(key)) {
    key = {std::string(kLogTenant), "other"};  // tenants invented by whoever floods
  }
  Flood& flood = floods_[key];
  if (now - flood.minute >= std::chrono::minutes(1)) {
    flood.minute = now;
    flood.written = 0;
  }
  if (flood.written < kFloodLeavesPerMinute) {
    ++flood.written;
    return false;
  }
  flood.last = clock_.WallNow();
  if (flood.folded++ == 0) {
    flood.first = flood.last;
    flood.folded_since = now;
  }
  if (flood.sources.size() < kFloodSourcesMax || flood.sources.contains(draft.src)) {
    ++flood.sources[draft.src];
  }
  return true;
}

LeafDraft AuditGate::Summary(const Key& key, const Flood& flood) {
  std::vector<std::pair<uint64_t, std::string>> sources;
  for (const auto& [source, count] : flood.sources) {
    sources.emplace_back(count, source);
  }
  std::sort(sources.rbegin(), sources.rend());
  std::vector<std::string> top;
  for (size_t i = 0; i < std::min(sources.size(), kFloodTopSources); ++i) {
    top.push_back(absl::StrFormat("%d %s", sources[i].first, sources[i].second));
  }
  LeafDraft draft;
  draft.type = LeafType::kDeniedSummary;
  draft.tenant = TenantId(key.first);
  draft.detail = {{"reason", key.second},
                  {"count", flood.folded},
                  {"first", Rfc3339Micros(flood.first)},
                  {"last", Rfc3339Micros(flood.last)},
                  {"sources", std::move(top)}};
  return draft;
}

void AuditGate::Tick(bool all) {
  const TimePoint now = clock_.Now();
  std::vector<LeafDraft> due;
  {
    MutexLock lock(mutex_);
    for (auto flood = floods_.begin(); flood != floods_.end();) {
      Flood& counts = flood->second;
      if (counts.folded > 0 && (all || now - counts.folded_since >= kFloodSummaryInterval)) {
        due.push_back(Summary(flood->first, counts));
        counts.folded = 0;
        counts.sources.clear();
      }
      const bool quiet = counts.folded == 0 && now - counts.minute >= std::chrono::minutes(1);
      flood = quiet ? floods_.erase(flood) : std::next(flood);
    }
  }
  for (LeafDraft& draft : due) {
    // Should the log be unavailable, what it fails to take is a gap.
    draft.mode = AuditMode::kBestEffort;
    Append(std::move(draft), [](const StatusOr<AuditReceipt>&) {});
  }
}

void AuditGate::Lost() {
  MutexLock lock(mutex_);
  ++num_lost_;
  const WallTime now = clock_.WallNow();
  if (!gap_) {
    gap_ = Gap{.from = now, .to = now, .count = 0};
  }
  gap_->to = now;
  ++gap_->count;
}

// The log takes leaves again: it is told what is missing. Runs on the log's thread.
void AuditGate::Regained() {
  std::optional<Gap> gap;
  {
    MutexLock lock(mutex_);
    gap = std::exchange(gap_, std::nullopt);
  }
  if (!gap) {
    return;
  }
  LeafDraft draft;
  draft.type = LeafType::kLogGap;
  draft.tenant = TenantId(std::string(kLogTenant));
  draft.detail = {
      {"from", Rfc3339Micros(gap->from)}, {"to", Rfc3339Micros(gap->to)}, {"count", gap->count}};
  log_.Append(std::move(draft), [this, gap](const StatusOr<AuditReceipt>& receipt) {
    if (receipt.ok()) {
      return;
    }
    MutexLock lock(mutex_);
    if (gap_) {
      gap_->from = gap->from;
      gap_->count += gap->count;
    } else {
      gap_ = gap;
    }
  });
}

uint64_t AuditGate::num_lost() const {
  MutexLock lock(mutex_);
  return num_lost_;
}

}  // namespace inferd
