#include "governance/payload_access.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/ulid.h"
#include "governance/audit/canonical_json.h"
#include "governance/retention.h"
#include "governance/vault_text.h"

namespace inferd {
namespace {

using Json = nlohmann::json;

constexpr char kSchema[] =
    "CREATE TABLE IF NOT EXISTS views(id TEXT PRIMARY KEY, tenant TEXT NOT NULL,"
    "  rid TEXT NOT NULL, basis TEXT NOT NULL, requested_by TEXT NOT NULL,"
    "  requested_us INTEGER NOT NULL, approved_by TEXT NOT NULL, approved_us INTEGER NOT NULL,"
    "  num_views INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS times(id TEXT PRIMARY KEY, from_us INTEGER NOT NULL,"
    "  to_us INTEGER NOT NULL) WITHOUT ROWID;"
    "PRAGMA user_version=1;";

WallTime FromMicros(int64_t micros) { return WallTime(std::chrono::microseconds(micros)); }

// The text at a path of members; "" if there is none.
std::string TextAt(const Json& leaf, std::initializer_list<const char*> path) {
  const Json* at = &leaf;
  for (const char* key : path) {
    const auto found = at->is_object() ? at->find(key) : at->end();
    if (!at->is_object() || found == at->end()) {
      return "";
    }
    at = &*found;
  }
  return at->is_string() ? at->get<std::string>() : "";
}

std::string_view LogOf(std::string_view origin) { return origin.substr(0, origin.rfind('/')); }

}  // namespace

StatusOr<std::unique_ptr<PayloadAccess>> PayloadAccess::Open(const std::string& path,
                                                             const Parts& parts) {
  ASSIGN_OR_RETURN(auto database, Sqlite::Open(path));
  RETURN_IF_ERROR(database->Execute(kSchema));
  return std::unique_ptr<PayloadAccess>(new PayloadAccess(std::move(database), parts));
}

StatusOr<std::vector<PayloadView>> PayloadAccess::Views() {
  ASSIGN_OR_RETURN(
      auto select,
      database_->Prepare("SELECT id, tenant, rid, basis, requested_by, requested_us, approved_by, "
                         "approved_us, num_views, coalesce(from_us,0), coalesce(to_us,0) "
                         "FROM views LEFT JOIN times USING(id) ORDER BY id"));
  std::vector<PayloadView> views;
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, select.Step());
    if (!row) {
      return views;
    }
    PayloadView& view = views.emplace_back();
    view.id = select.Text(0);
    view.tenant = select.Text(1);
    view.rid = select.Text(2);
    view.basis = select.Text(3);
    view.requested_by = select.Text(4);
    view.requested_at = FromMicros(select.Integer(5));
    view.approved_by = select.Text(6);
    view.approved_at = FromMicros(select.Integer(7));
    view.num_views = static_cast<uint64_t>(select.Integer(8));
    view.from = FromMicros(select.Integer(9));
    view.to = FromMicros(select.Integer(10));
  }
}

Status PayloadAccess::Put(const PayloadView& view) {
  if (view.rid.empty()) {
    ASSIGN_OR_RETURN(auto time, database_->Prepare("INSERT OR REPLACE INTO times VALUES(?,?,?)"));
    RETURN_IF_ERROR(
        time.Bind(1, view.id).Bind(2, MicrosOf(view.from)).Bind(3, MicrosOf(view.to)).Run());
  }
  ASSIGN_OR_RETURN(auto put,
                   database_->Prepare("INSERT OR REPLACE INTO views VALUES(?,?,?,?,?,?,?,?,?)"));
  return put.Bind(1, view.id)
      .Bind(2, view.tenant)
      .Bind(3, view.rid)
      .Bind(4, view.basis)
      .Bind(5, view.requested_by)
      .Bind(6, MicrosOf(view.requested_at))
      .Bind(7, view.approved_by)
      .Bind(8, MicrosOf(view.approved_at))
      .Bind(9, static_cast<int64_t>(view.num_views))
      .Run();
}

Status PayloadAccess::Record(LeafType type, const ActorFacts& actor, const PayloadView& view) {
  LeafDraft draft;
  draft.type = type;
  draft.tenant = TenantId(view.tenant);
  draft.rid = RequestId(view.rid);
  draft.actor = actor;
  draft.detail["view"] = view.id;
  draft.detail["basis"] = view.basis;
  if (view.rid.empty()) {
    draft.detail["from"] = Rfc3339Micros(view.from);
    draft.detail["to"] = Rfc3339Micros(view.to);
  }
  if (type != LeafType::kReviewOpened) {
    draft.detail["asked_by"] = view.requested_by;
  }
  if (type == LeafType::kReviewPayloadViewed) {
    draft.detail["approved_by"] = view.approved_by;
    draft.detail["num"] = view.num_views;
  }
  return parts_.log.AppendAndWait(std::move(draft)).status();
}

StatusOr<PayloadView> PayloadAccess::Ask(const ActorFacts& actor, PayloadView view) {
  RETURN_IF_ERROR(CheckReference(view.basis, "the basis of a view"));
  const WallTime now = parts_.clock.WallNow();
  ASSIGN_OR_RETURN(auto forget, database_->Prepare("DELETE FROM views WHERE requested_us<?"));
  RETURN_IF_ERROR(forget.Bind(1, MicrosOf(now - kPayloadKeptTime)).Run());
  RETURN_IF_ERROR(database_->Execute("DELETE FROM times WHERE id NOT IN (SELECT id FROM views)"));
  ASSIGN_OR_RETURN(const auto views, Views());
  if (views.size() >= kPayloadViewsMax) {
    return ErrorF(StatusCode::kResourceExhausted,
                  "%d views were asked for in 90 days, the most",
                  kPayloadViewsMax);
  }
  view.id = NewUlid(now);
  view.requested_by = actor.id;
  view.requested_at = now;
  RETURN_IF_ERROR(Record(LeafType::kReviewOpened, actor, view));
  RETURN_IF_ERROR(Put(view));
  return view;
}

StatusOr<PayloadView> PayloadAccess::Request(const ActorFacts& actor,
                                             const std::string& tenant,
                                             const std::string& rid,
                                             const std::string& basis) {
  if (tenant.empty() || !IsUlid(rid)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a view names its tenant and the rid of the request's leaves (26 characters)");
  }
  PayloadView view;
  view.tenant = tenant;
  view.rid = rid;
  view.basis = basis;
  MutexLock lock(mutex_);
  return Ask(actor, std::move(view));
}

StatusOr<PayloadView> PayloadAccess::RequestReplays(const ActorFacts& actor,
                                                    const std::string& tenant,
                                                    WallTime from,
                                                    WallTime to,
                                                    const std::string& basis) {
  if (tenant.empty() || from >= to) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a view of a time names its tenant, and a time that ends after its beginning");
  }
  PayloadView view;
  view.tenant = tenant;
  view.from = from;
  view.to = to;
  view.basis = basis;
  MutexLock lock(mutex_);
  return Ask(actor, std::move(view));
}

StatusOr<PayloadView> PayloadAccess::FindView(const std::string& id) {
  ASSIGN_OR_RETURN(auto views, Views());
  const auto found = std::find_if(
      views.begin(), views.end(), [&](const PayloadView& view) { return view.id == id; });
  if (found == views.end()) {
    return ErrorF(StatusCode::kNotFound,
                  "no view %s was asked for; `inferctl payload list` shows them",
                  id.substr(0, 64));
  }
  return *std::move(found);
}

StatusOr<PayloadView> PayloadAccess::Approve(const ActorFacts& actor, const std::string& id) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(PayloadView view, FindView(id));
  if (view.requested_by == actor.id) {
    return ErrorF(StatusCode::kPermissionDenied,
                  "view %s was asked for by %s; a second person must approve it",
                  id,
                  actor.id);
  }
  const WallTime now = parts_.clock.WallNow();
  if (!view.approved_by.empty() || now - view.requested_at > kPayloadApprovalTime) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "view %s is approved already, or was asked for more than a week ago: ask anew",
                  id);
  }
  view.approved_by = actor.id;
  view.approved_at = now;
  RETURN_IF_ERROR(Record(LeafType::kReviewSignedOff, actor, view));
  RETURN_IF_ERROR(Put(view));
  return view;
}

StatusOr<PayloadView> PayloadAccess::FindOpen(const ActorFacts& actor, const std::string& id) {
  ASSIGN_OR_RETURN(PayloadView view, FindView(id));
  if (view.requested_by != actor.id) {
    return ErrorF(StatusCode::kPermissionDenied,
                  "view %s is for %s, who asked for it, alone",
                  id,
                  view.requested_by);
  }
  if (view.approved_by.empty()) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "view %s waits for a second person: `inferctl payload approve %s`",
                  id,
                  id);
  }
  const Duration since = parts_.clock.WallNow() - view.approved_at;
  if (since > (view.rid.empty() ? kReplayTime : kPayloadViewTime) || since < Duration(0)) {
    return ErrorF(
        StatusCode::kFailedPrecondition, "view %s: its time is over; ask for another", id);
  }
  return view;
}

StatusOr<PayloadView> PayloadAccess::Find(const ActorFacts& actor, const std::string& id) {
  MutexLock lock(mutex_);
  return FindOpen(actor, id);
}

StatusOr<std::optional<std::string>> PayloadAccess::OpenRecord(const RecordPlace& place) {
  auto record = parts_.vault.Open(place.handle);
  if (record.status().code() == StatusCode::kNotFound) {
    return std::optional<std::string>();
  }
  RETURN_IF_ERROR(record);
  // A request that is admitted while the log changes shards names the one before.
  if (record->envelope.rid != place.rid || record->envelope.tenant != place.tenant ||
      record->envelope.direction != place.direction ||
      LogOf(record->envelope.origin) != LogOf(place.origin) ||
      CommitTo(record->salt, record->payload).Text() != place.commitment) {
    return ErrorF(StatusCode::kDataLoss,
                  "request %s: what the vault holds is not what the leaf commits to",
                  place.rid);
  }
  return std::optional(std::move(record->payload));
}

Status PayloadAccess::OpenLeaf(const RequestLeaf& request, OpenedPayload& opened) {
  const Json leaf = Json::parse(request.leaf, nullptr, /*allow_exceptions=*/false);
  const bool is_input = TextAt(leaf, {"t"}) == Name(LeafType::kInferenceAdmitted);
  if (TextAt(leaf, {"rid"}) != opened.view.rid || TextAt(leaf, {"tenant"}) != opened.view.tenant) {
    return ErrorF(StatusCode::kDataLoss, "a leaf of another request");
  }
  const std::string handle = is_input ? TextAt(leaf, {"d", "vault"}) : TextAt(leaf, {"vault"});
  if (handle.empty()) {
    return OkStatus();  // kept at another level, or it ended without an answer
  }
  ASSIGN_OR_RETURN(
      std::optional<std::string> payload,
      OpenRecord(
          {.handle = handle,
           .direction = is_input ? VaultDirection::kInput : VaultDirection::kOutput,
           .tenant = opened.view.tenant,
           .rid = opened.view.rid,
           .origin = request.origin,
           .commitment = is_input ? TextAt(leaf, {"in", "c"}) : TextAt(leaf, {"out", "c"})}));
  if (!payload.has_value()) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "request %s: its payload cannot be opened any more: it was erased, or purged at "
                  "the end of its time",
                  opened.view.rid);
  }
  (is_input ? opened.input : opened.output) = *std::move(payload);
  return OkStatus();
}

StatusOr<std::optional<std::string>> PayloadAccess::OpenReplay(const ActorFacts& actor,
                                                               const std::string& id,
                                                               const RequestLeaf& completed) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const PayloadView view, FindOpen(actor, id));
  const Json leaf = Json::parse(completed.leaf, nullptr, /*allow_exceptions=*/false);
  const std::string rid = TextAt(leaf, {"rid"});
  bool covered = TextAt(leaf, {"tenant"}) == view.tenant && IsUlid(rid);
  if (covered && view.rid.empty()) {
    // The log draws a request's rid when it comes.
    const WallTime came = TimeOfUlid(rid);
    covered = view.from <= came && came < view.to;
  } else {
    covered = covered && rid == view.rid;
  }
  if (!covered) {
    return ErrorF(StatusCode::kPermissionDenied, "view %s does not cover that request", id);
  }
  const std::string handle = TextAt(leaf, {"replay"});
  if (handle.empty() || TextAt(leaf, {"t"}) != Name(LeafType::kInferenceCompleted)) {
    return ErrorF(StatusCode::kNotFound, "request %s: nothing was kept to replay it", rid);
  }
  return OpenRecord({.handle = handle,
                     .direction = VaultDirection::kReplay,
                     .tenant = view.tenant,
                     .rid = rid,
                     .origin = completed.origin,
                     .commitment = TextAt(leaf, {"replay_c"})});
}

StatusOr<OpenedPayload> PayloadAccess::Look(const ActorFacts& actor,
                                            const std::string& id,
                                            const std::vector<RequestLeaf>& leaves) {
  MutexLock lock(mutex_);
  OpenedPayload opened;
  ASSIGN_OR_RETURN(opened.view, FindOpen(actor, id));
  if (opened.view.rid.empty()) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "view %s is for replays alone; ask for a view of the request",
                  id);
  }
  for (const RequestLeaf& leaf : leaves) {
    RETURN_IF_ERROR(OpenLeaf(leaf, opened));
  }
  if (!opened.input.has_value() && !opened.output.has_value()) {
    return ErrorF(StatusCode::kNotFound,
                  "request %s of tenant %s: no payload was kept; it was not at level full",
                  opened.view.rid,
                  opened.view.tenant);
  }
  ++opened.view.num_views;
  RETURN_IF_ERROR(Record(LeafType::kReviewPayloadViewed, actor, opened.view));
  RETURN_IF_ERROR(Put(opened.view));
  return opened;
}

StatusOr<std::vector<PayloadView>> PayloadAccess::List() {
  MutexLock lock(mutex_);
  return Views();
}

}  // namespace inferd
