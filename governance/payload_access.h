// PayloadAccess: looking at a prompt and its answer at level full. One person asks, another
// approves, and for an hour the one who asked may look. Each step and each look is a leaf of the
// payload's tenant, under the request's own rid, that is durable before the step takes effect.
//
// A view may be of all requests of a time instead of one: then nobody is shown anything, but
// answers may be computed again and compared, for a day.
//
// Leaves: review.opened{view, basis}, review.signed_off{view, asked_by}, both with {from, to} of a
// view of a time, review.payload_viewed{view, asked_by, approved_by, num}.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "governance/audit/audit_log.h"
#include "governance/sqlite.h"
#include "governance/vault.h"

namespace inferd {

inline constexpr Duration kPayloadViewTime = std::chrono::hours(1);           // from the approval
inline constexpr Duration kReplayTime = std::chrono::hours(24);               // of a view of a time
inline constexpr Duration kPayloadApprovalTime = std::chrono::hours(24) * 7;  // then it lapses
inline constexpr Duration kPayloadKeptTime = std::chrono::hours(24) * 90;  // then it is forgotten
inline constexpr size_t kPayloadViewsMax = 10'000;

struct PayloadView {
  std::string id;  // ULID
  std::string tenant;
  std::string rid;        // "": of a time
  WallTime from{}, to{};  // of a view of a time: [from, to)
  std::string basis;      // a case's reference
  std::string requested_by, approved_by;
  WallTime requested_at{}, approved_at{};
  uint64_t num_views = 0;
};

// A leaf of the request, as the log has it.
struct RequestLeaf {
  std::string origin;
  std::string leaf;
};

// What was written and answered; nothing where the log says of none.
struct OpenedPayload {
  PayloadView view;
  std::optional<std::string> input, output;  // as they were committed to
};

// Thread-safe; calls block on the disk and on the log.
class PayloadAccess {
 public:
  // Everything outlives it.
  struct Parts {
    AuditLog& log;
    Vault& vault;
    const Clock& clock;
  };
  static StatusOr<std::unique_ptr<PayloadAccess>> Open(const std::string& path, const Parts& parts);

  StatusOr<PayloadView> Request(const ActorFacts& actor,
                                const std::string& tenant,
                                const std::string& rid,
                                const std::string& basis) EXCLUDES(mutex_);
  // A view of the tenant's requests that were admitted in [from, to), for replays alone.
  StatusOr<PayloadView> RequestReplays(const ActorFacts& actor,
                                       const std::string& tenant,
                                       WallTime from,
                                       WallTime to,
                                       const std::string& basis) EXCLUDES(mutex_);
  // kPermissionDenied if the actor is the one who asked, kFailedPrecondition if it has lapsed.
  StatusOr<PayloadView> Approve(const ActorFacts& actor, const std::string& id) EXCLUDES(mutex_);
  // The view of this id, if this actor may look now: kPermissionDenied for another actor than the
  // one who asked, kFailedPrecondition before the approval and when its hour is over.
  StatusOr<PayloadView> Find(const ActorFacts& actor, const std::string& id) EXCLUDES(mutex_);
  // Opens what the leaves of the view's request commit to, and records the look. As Find;
  // kFailedPrecondition if the key was destroyed, kDataLoss if a payload is not what its leaf says.
  StatusOr<OpenedPayload> Look(const ActorFacts& actor,
                               const std::string& id,
                               const std::vector<RequestLeaf>& leaves) EXCLUDES(mutex_);
  // What a replay needs, of the completed leaf of a request that the view covers; nobody is shown
  // it. Nothing if it cannot be opened any more: its key was destroyed, or its time is over. As
  // Find; kPermissionDenied for another request, kNotFound if the leaf names nothing to replay,
  // kDataLoss if it is not what the leaf says.
  StatusOr<std::optional<std::string>> OpenReplay(const ActorFacts& actor,
                                                  const std::string& id,
                                                  const RequestLeaf& completed) EXCLUDES(mutex_);
  // Oldest first.
  StatusOr<std::vector<PayloadView>> List() EXCLUDES(mutex_);

 private:
  PayloadAccess(std::unique_ptr<Sqlite> database, const Parts& parts)
      : database_(std::move(database)), parts_(parts) {}
  StatusOr<std::vector<PayloadView>> Views() REQUIRES(mutex_);
  StatusOr<PayloadView> FindView(const std::string& id) REQUIRES(mutex_);
  StatusOr<PayloadView> FindOpen(const ActorFacts& actor, const std::string& id) REQUIRES(mutex_);
  StatusOr<PayloadView> Ask(const ActorFacts& actor, PayloadView view) REQUIRES(mutex_);
  Status Put(const PayloadView& view) REQUIRES(mutex_);
  Status Record(LeafType type, const ActorFacts& actor, const PayloadView& view) REQUIRES(mutex_);
  // Where a leaf says that a payload lies, and whose it must be.
  struct RecordPlace {
    std::string handle;
    VaultDirection direction = VaultDirection::kInput;
    std::string tenant, rid, origin;
    std::string commitment;
  };
  // Nothing if it is gone.
  StatusOr<std::optional<std::string>> OpenRecord(const RecordPlace& place);
  Status OpenLeaf(const RequestLeaf& request, OpenedPayload& opened);

  Mutex mutex_;
  const std::unique_ptr<Sqlite> database_;
  const Parts parts_;
};

}  // namespace inferd
