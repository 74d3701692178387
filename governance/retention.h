// Retention: how long payloads stay at least, and legal holds, which keep them longer.
//
// A hold is set by one person and released by two. Every act is a leaf that is durable before the
// act takes effect; what is here is the state that those leaves describe.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "governance/audit/audit_log.h"
#include "governance/sqlite.h"
#include "governance/vault.h"

namespace inferd {

// AI Act, articles 19 and 26(6): logs stay for six months at least. Nothing is purged sooner.
inline constexpr int kRetentionDaysMin = 183;
inline constexpr size_t kHoldsMax = 10'000;
inline constexpr size_t kHoldRidsMax = 1000;

// What a hold is about: everything that all the parts that are given have in common.
struct HoldScope {
  std::string tenant;
  std::optional<std::string> subject{};  // as leaves have it (SubjectHash)
  std::optional<WallTime> from{}, to{};  // [from, to), to the day
  std::vector<std::string> rids{};       // empty: any
};

struct Hold {
  std::string id;  // ULID
  HoldScope scope;
  std::string basis;  // a case's reference
  std::string set_by;
  WallTime set_at{};
  std::string release_asked_by;  // the first of the two, "" before
  bool released = false;
};

// A reference that an administrator gives, as leaves take it: 1 to 64 letters, digits and "._:/-".
Status CheckReference(std::string_view text, std::string_view what);

// Thread-safe; calls block on the disk and on the log.
class Retention {
 public:
  // Everything outlives it.
  struct Parts {
    AuditLog& log;
    KeyStore& keys;
    Vault& vault;
    const Clock& clock;
  };
  static StatusOr<std::unique_ptr<Retention>> Open(const std::string& path, const Parts& parts);

  StatusOr<Hold> SetHold(const ActorFacts& actor, const HoldScope& scope, const std::string& basis)
      EXCLUDES(mutex_);
  // The first call asks, the second, by another actor, releases: `released` says which it was.
  // kPermissionDenied if the same actor comes twice.
  StatusOr<Hold> ReleaseHold(const ActorFacts& actor, const std::string& id) EXCLUDES(mutex_);
  StatusOr<std::vector<Hold>> ListHolds() EXCLUDES(mutex_);

  // Runs `act`, which destroys what is kept of the subject, unless a hold covers some of it; no
  // hold can be set meanwhile. kFailedPrecondition names the hold.
  Status RunUnlessHeld(const SubjectRef& subject, const std::function<Status()>& act)
      EXCLUDES(mutex_);

  // Removes the tenant's payloads of days that ended `days` ago and that no hold covers.
  // kInvalidArgument below kRetentionDaysMin. A leaf before it and one after it, with the counts.
  StatusOr<Vault::Purged> Purge(const ActorFacts& actor, const std::string& tenant, int days)
      EXCLUDES(mutex_);
  // The same for every tenant that has such days.
  Status PurgeAll(const ActorFacts& actor, int days) EXCLUDES(mutex_);

 private:
  Retention(std::unique_ptr<Sqlite> database, const Parts& parts)
      : database_(std::move(database)), parts_(parts) {}
  StatusOr<std::vector<Hold>> Holds(std::string_view where) REQUIRES(mutex_);
  StatusOr<Hold> FindHold(const std::string& id) REQUIRES(mutex_);
  StatusOr<bool> Covers(const Hold& hold, const SubjectRef& subject) REQUIRES(mutex_);
  // The id of the key of the hold's subject; nullopt if the hold names none, "" if it has none.
  StatusOr<std::optional<std::string>> KeyIdOf(const Hold& hold);

  Mutex mutex_;
  const std::unique_ptr<Sqlite> database_;
  const Parts parts_;
};

}  // namespace inferd
