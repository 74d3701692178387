#include "governance/payload_access.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/ulid.h"
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
      database_->Prepare("SELECT id, tenant, rid, basis, requested_by, requested_us, "
                         "approved_by, approved_us, num_views FROM views ORDER BY id"));
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
  }
}

Status PayloadAccess::Put(const PayloadView& view) {
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
  if (type != LeafType::kReviewOpened) {
    draft.detail["asked_by"] = view.requested_by;
  }
  if (type == LeafType::kReviewPayloadViewed) {
    draft.detail["approved_by"] = view.approved_by;
    draft.detail["num"] = view.num_views;
  }
  return parts_.log.AppendAndWait(std::move(draft)).status();
}

StatusOr<PayloadView> PayloadAccess::Request(const ActorFacts& actor,
                                             const std::string& tenant,
                                             const std::string& rid,
                                             const std::string& basis) {
  RETURN_IF_ERROR(CheckReference(basis, "the basis of a view"));
  if (tenant.empty() || !IsUlid(rid)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a view names its tenant and the rid of the request's leaves (26 characters)");
  }
  MutexLock lock(mutex_);
  const WallTime now = parts_.clock.WallNow();
  ASSIGN_OR_RETURN(auto forget, database_->Prepare("DELETE FROM views WHERE requested_us<?"));
  RETURN_IF_ERROR(forget.Bind(1, MicrosOf(now - kPayloadKeptTime)).Run());
  ASSIGN_OR_RETURN(const auto views, Views());
  if (views.size() >= kPayloadViewsMax) {
    return ErrorF(StatusCode::kResourceExhausted,
                  "%d views were asked for in 90 days, the most",
                  kPayloadViewsMax);
  }
  PayloadView view{.id = NewUlid(now),
                   .tenant = tenant,
                   .rid = rid,
                   .basis = basis,
                   .requested_by = actor.id,
                   .approved_by = "",
                   .requested_at = now};
  RETURN_IF_ERROR(Record(LeafType::kReviewOpened, actor, view));
  RETURN_IF_ERROR(Put(view));
  return view;
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
  if (since > kPayloadViewTime || since < Duration(0)) {
    return ErrorF(
        StatusCode::kFailedPrecondition, "view %s: its hour is over; ask for another", id);
  }
  return view;
}

StatusOr<PayloadView> PayloadAccess::Find(const ActorFacts& actor, const std::string& id) {
  MutexLock lock(mutex_);
  return FindOpen(actor, id);
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
  auto record = parts_.vault.Open(handle);
  if (record.status().code() == StatusCode::kNotFound) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "request %s: its payload cannot be opened any more: it was erased, or purged at "
                  "the end of its time",
                  opened.view.rid);
  }
  RETURN_IF_ERROR(record);
  const VaultDirection direction = is_input ? VaultDirection::kInput : VaultDirection::kOutput;
  const std::string committed = is_input ? TextAt(leaf, {"in", "c"}) : TextAt(leaf, {"out", "c"});
  // A request that is admitted while the log changes shards names the one before.
  if (record->envelope.rid != opened.view.rid || record->envelope.tenant != opened.view.tenant ||
      record->envelope.direction != direction ||
      LogOf(record->envelope.origin) != LogOf(request.origin) ||
      CommitTo(record->salt, record->payload).Text() != committed) {
    return ErrorF(StatusCode::kDataLoss,
                  "request %s: what the vault holds is not what the leaf commits to",
                  opened.view.rid);
  }
  (is_input ? opened.input : opened.output) = std::move(record->payload);
  return OkStatus();
}

StatusOr<OpenedPayload> PayloadAccess::Look(const ActorFacts& actor,
                                            const std::string& id,
                                            const std::vector<RequestLeaf>& leaves) {
  MutexLock lock(mutex_);
  OpenedPayload opened;
  ASSIGN_OR_RETURN(opened.view, FindOpen(actor, id));
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
