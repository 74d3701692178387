// QuotaStore: the limits in force: those of the configuration, and over them, by id, those that an
// administrator set. The latter lie on disk and outlive the process.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_system.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "governance/quota/quota_limit.h"

namespace inferd {

// One act, as its quota.changed leaf says it.
struct QuotaChange {
  std::string actor{};
  QuotaLimit limit{};    // of a removal: the one that was set
  bool removed = false;  // the configuration's, if it has one, holds again
};

// Thread-safe; changes block on the disk, on `record` and on `apply`.
class QuotaStore {
 public:
  struct Parts {
    FileSystem& files;   // outlives it
    std::string folder;  // made if need be
    // Writes the act's leaf, durably; called before the change takes effect.
    std::function<Status(const QuotaChange&)> record;
    // Puts the limits into force: QuotaLedger::SetLimits.
    std::function<Status(std::vector<QuotaLimit>)> apply;
  };
  // kDataLoss if the file is not as it was written; kInvalidArgument for a configured limit that is
  // none. Does not apply anything yet.
  static StatusOr<std::unique_ptr<QuotaStore>> Open(Parts parts,
                                                    std::vector<QuotaLimit> configured);

  // By id.
  std::vector<QuotaLimit> limits() const EXCLUDES(mutex_);
  // Adds or replaces. kInvalidArgument for a limit that is none, kResourceExhausted beyond
  // kLimitsSetMax.
  Status Set(const std::string& actor, const QuotaLimit& limit) EXCLUDES(mutex_);
  // kNotFound if no administrator set one of this id.
  Status Remove(const std::string& actor, const std::string& id) EXCLUDES(mutex_);
  // The configuration was read again: all or nothing, as the others.
  Status Reconfigure(std::vector<QuotaLimit> configured) EXCLUDES(mutex_);

  static constexpr size_t kLimitsSetMax = 10'000;

 private:
  using ById = std::map<std::string, QuotaLimit>;
  explicit QuotaStore(Parts parts) : parts_(std::move(parts)) {}
  static StatusOr<ById> Checked(std::vector<QuotaLimit> limits);
  static std::vector<QuotaLimit> Merged(const ById& configured, const ById& set);
  Status Change(const QuotaChange& change, ById set) REQUIRES(mutex_);

  const Parts parts_;
  mutable Mutex mutex_;
  ById configured_ GUARDED_BY(mutex_);
  ById set_ GUARDED_BY(mutex_);
};

// One limit as a line of JSON, without members that have their default, and back. kInvalidArgument
// for members that it does not have.
std::string ToJson(const QuotaLimit& limit);
StatusOr<QuotaLimit> ParseQuotaLimit(std::string_view json);

}  // namespace inferd
