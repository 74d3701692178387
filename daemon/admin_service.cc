#include "daemon/admin_service.h"

#include <grpcpp/server_context.h>

#include <vector>

#include "daemon/admin_payload.h"
#include "daemon/error_map.h"
#include "governance/audit/canonical_json.h"
#include "governance/vault_text.h"
#include "governance/verify/proof_file.h"
#include "inferd/v1/audit.grpc.pb.h"

namespace inferd {
namespace {

std::string TimeText(const std::optional<WallTime>& time) {
  return time.has_value() ? Rfc3339Micros(*time) : "";
}

StatusOr<std::optional<WallTime>> OptionalTime(const std::string& text) {
  if (text.empty()) {
    return std::optional<WallTime>();
  }
  ASSIGN_OR_RETURN(const WallTime time, ParseTime(text));
  return std::optional(time);
}

void Fill(const IndexRow& row, v1::LeafRow* out) {
  out->mutable_place()->set_origin(row.origin);
  out->mutable_place()->set_index(row.index);
  out->set_time(Rfc3339Micros(WallTime(std::chrono::microseconds(row.ts_us))));
  out->set_type(row.type);
  out->set_tenant(row.tenant);
  out->set_rid(row.rid);
  out->set_actor(row.actor);
  out->set_model(row.model);
  out->set_digest(row.digest);
  out->set_status(row.status);
  out->set_reason(row.reason);
  out->set_finish(row.finish);
  out->set_input_tokens(row.tokens_in);
  out->set_output_tokens(row.tokens_out);
}

void Fill(const Hold& hold, v1::Hold* out) {
  out->set_id(hold.id);
  out->set_tenant(hold.scope.tenant);
  out->set_subject(hold.scope.subject.value_or(""));
  out->set_from(TimeText(hold.scope.from));
  out->set_to(TimeText(hold.scope.to));
  out->mutable_rids()->Add(hold.scope.rids.begin(), hold.scope.rids.end());
  out->set_basis(hold.basis);
  out->set_set_by(hold.set_by);
  out->set_set_at(Rfc3339Micros(hold.set_at));
  out->set_release_asked_by(hold.release_asked_by);
  out->set_released(hold.released);
}

void Fill(const ErasureRecord& record, v1::Erasure* out) {
  out->set_id(record.id);
  out->set_tenant(record.subject.tenant);
  out->set_subject(record.subject.subject);
  out->set_basis(record.basis);
  out->set_state(std::string(Name(record.state)));
  out->set_requested_by(record.requested_by);
  out->set_requested_at(Rfc3339Micros(record.requested_at));
  out->set_approved_by(record.approved_by);
  out->set_key_id(HexOf(record.key_id));
  out->set_epoch(record.epoch);
  out->set_num_records(record.num_records);
  out->set_refusal(record.refusal);
}

// Errors of the admin plane are shown as they are: administrators may know what rooms say.
grpc::Status Wire(const Status& status) {
  return status.ok() ? grpc::Status::OK
                     : grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                                    std::string(Message(status)));
}

class Service final : public v1::AuditService::Service {
 public:
  Service(AuditState& state, const std::string& actor_id)
      : state_(state), actor_{.kind = "human", .id = actor_id, .authn = "peercred"} {}

  grpc::Status GetLog(grpc::ServerContext*,
                      const v1::GetLogRequest*,
                      v1::GetLogResponse* response) override {
    return Wire(FillLog(response));
  }

  grpc::Status SearchLeaves(grpc::ServerContext*,
                            const v1::SearchLeavesRequest* request,
                            v1::SearchLeavesResponse* response) override {
    return Wire(Search(*request, response));
  }

  grpc::Status GetLeaf(grpc::ServerContext*,
                       const v1::GetLeafRequest* request,
                       v1::GetLeafResponse* response) override {
    return Wire(ReadLeaf(*request, response));
  }

  grpc::Status GetReport(grpc::ServerContext*,
                         const v1::GetReportRequest* request,
                         v1::GetReportResponse* response) override {
    return Wire(Report(*request, response));
  }

  grpc::Status BeginExport(grpc::ServerContext*,
                           const v1::BeginExportRequest*,
                           v1::BeginExportResponse* response) override {
    const Status recorded = RecordReview(LeafType::kReviewExported, "log", "", "");
    return Wire(recorded.ok() ? FillLog(response->mutable_log()) : recorded);
  }

  grpc::Status SetHold(grpc::ServerContext*,
                       const v1::SetHoldRequest* request,
                       v1::SetHoldResponse* response) override {
    return Wire(MakeHold(*request, response));
  }

  grpc::Status ReleaseHold(grpc::ServerContext*,
                           const v1::ReleaseHoldRequest* request,
                           v1::ReleaseHoldResponse* response) override {
    const auto hold = state_.retention().ReleaseHold(actor_, request->id());
    if (hold.ok()) {
      Fill(*hold, response->mutable_hold());
    }
    return Wire(hold.status());
  }

  grpc::Status ListHolds(grpc::ServerContext*,
                         const v1::ListHoldsRequest*,
                         v1::ListHoldsResponse* response) override {
    const auto holds = state_.retention().ListHolds();
    if (holds.ok()) {
      for (const Hold& hold : *holds) {
        Fill(hold, response->add_holds());
      }
    }
    return Wire(holds.status());
  }

  grpc::Status RequestErasure(grpc::ServerContext*,
                              const v1::RequestErasureRequest* request,
                              v1::RequestErasureResponse* response) override {
    const SubjectRef subject{.tenant = request->tenant(),
                             .subject = state_.SubjectOf(request->tenant(), request->end_user())};
    const auto record = state_.erasure().Request(actor_, subject, request->basis());
    if (record.ok()) {
      Fill(*record, response->mutable_erasure());
    }
    return Wire(record.status());
  }

  grpc::Status ApproveErasure(grpc::ServerContext*,
                              const v1::ApproveErasureRequest* request,
                              v1::ApproveErasureResponse* response) override {
    const auto record = state_.erasure().Approve(actor_, request->id());
    if (record.ok()) {
      Fill(*record, response->mutable_erasure());
    }
    return Wire(record.status());
  }

  grpc::Status ListErasures(grpc::ServerContext*,
                            const v1::ListErasuresRequest*,
                            v1::ListErasuresResponse* response) override {
    const auto records = state_.erasure().List();
    if (records.ok()) {
      for (const ErasureRecord& record : *records) {
        Fill(record, response->add_erasures());
      }
    }
    return Wire(records.status());
  }

  grpc::Status ListWitnesses(grpc::ServerContext*,
                             const v1::ListWitnessesRequest*,
                             v1::ListWitnessesResponse* response) override {
    FillWitnesses(state_, *response);
    return grpc::Status::OK;
  }

  grpc::Status RequestPayload(grpc::ServerContext*,
                              const v1::RequestPayloadRequest* request,
                              v1::RequestPayloadResponse* response) override {
    const auto view =
        state_.payloads().Request(actor_, request->tenant(), request->rid(), request->basis());
    if (view.ok()) {
      Fill(*view, *response->mutable_view());
    }
    return Wire(view.status());
  }

  grpc::Status ApprovePayload(grpc::ServerContext*,
                              const v1::ApprovePayloadRequest* request,
                              v1::ApprovePayloadResponse* response) override {
    const auto view = state_.payloads().Approve(actor_, request->id());
    if (view.ok()) {
      Fill(*view, *response->mutable_view());
    }
    return Wire(view.status());
  }

  grpc::Status OpenPayload(grpc::ServerContext*,
                           const v1::OpenPayloadRequest* request,
                           v1::OpenPayloadResponse* response) override {
    return Wire(inferd::OpenPayload(state_, actor_, request->id(), *response));
  }

  grpc::Status ListPayloads(grpc::ServerContext*,
                            const v1::ListPayloadsRequest*,
                            v1::ListPayloadsResponse* response) override {
    const auto views = state_.payloads().List();
    if (views.ok()) {
      for (const PayloadView& view : *views) {
        Fill(view, *response->add_views());
      }
    }
    return Wire(views.status());
  }

 private:
  // A read of the log is an act of its own. What was searched for stays out of the leaf.
  Status RecordReview(LeafType type,
                      const std::string& what,
                      const std::string& tenant,
                      const std::string& place) {
    LeafDraft draft;
    draft.type = type;
    draft.tenant = TenantId(std::string(kLogTenant));
    draft.actor = actor_;
    draft.detail["what"] = what;
    if (!tenant.empty() && CheckReference(tenant, "a tenant").ok()) {
      draft.detail["of_tenant"] = tenant;
    }
    if (!place.empty()) {
      draft.detail["place"] = place;
    }
    return state_.log().AppendAndWait(std::move(draft)).status();
  }

  Status FillLog(v1::GetLogResponse* out) {
    out->set_folder(state_.log_folder());
    out->set_verifier_key(state_.verifier().VKey());
    out->set_origin(state_.log().origin());
    // A log that takes no more leaves still shows what it has published.
    const Status flushed = state_.log().Flush();
    out->set_fault(std::string(Message(state_.log().status())));
    if (out->fault().empty()) {
      RETURN_IF_ERROR(flushed);
    }
    ASSIGN_OR_RETURN(const auto shards, state_.Shards());
    if (!shards.empty()) {
      out->set_checkpoint(shards.back()->note());
    }
    return OkStatus();
  }

  StatusOr<IndexQuery> ToQuery(const v1::LeafFilter& filter) {
    IndexQuery query;
    query.tenant = filter.tenant();
    (filter.type().ends_with('.') ? query.type_prefix : query.type) = filter.type();
    query.rid = filter.rid();
    query.actor = filter.actor();
    query.model = filter.model();
    query.reason = filter.reason();
    if (!filter.end_user().empty()) {
      if (filter.tenant().empty()) {
        return ErrorF(StatusCode::kInvalidArgument,
                      "end_user: name the tenant too: its hash depends on it");
      }
      query.subj = state_.SubjectOf(filter.tenant(), filter.end_user());
    }
    ASSIGN_OR_RETURN(query.from, OptionalTime(filter.from()));
    ASSIGN_OR_RETURN(query.to, OptionalTime(filter.to()));
    return query;
  }

  Status Search(const v1::SearchLeavesRequest& request, v1::SearchLeavesResponse* response) {
    ASSIGN_OR_RETURN(IndexQuery query, ToQuery(request.filter()));
    query.oldest_first = request.oldest_first();
    query.rows_max = request.page_size() == 0 ? 100 : request.page_size();
    if (request.has_after()) {
      query.after =
          IndexQuery::Place{.origin = request.after().origin(), .index = request.after().index()};
    } else {
      // Once for all pages of a search.
      RETURN_IF_ERROR(
          RecordReview(LeafType::kReviewOpened, "search", request.filter().tenant(), ""));
    }
    RETURN_IF_ERROR(state_.CatchUp());
    ASSIGN_OR_RETURN(const auto rows, state_.index().Search(query));
    for (const IndexRow& row : rows) {
      Fill(row, response->add_rows());
    }
    return OkStatus();
  }

  Status ReadLeaf(const v1::GetLeafRequest& request, v1::GetLeafResponse* response) {
    RETURN_IF_ERROR(state_.log().Flush());
    ASSIGN_OR_RETURN(const auto shards, state_.Shards());
    const std::string& origin = request.place().origin();
    const uint64_t index = request.place().index();
    for (const auto& shard : shards) {
      if (shard->origin() != origin && !(origin.empty() && shard == shards.back())) {
        continue;
      }
      RETURN_IF_ERROR(RecordReview(
          LeafType::kReviewOpened, "leaf", "", absl::StrFormat("%s/%d", shard->origin(), index)));
      ASSIGN_OR_RETURN(const std::string leaf, shard->Read(index));
      ASSIGN_OR_RETURN(const TlogProof proof, ProveLeaf(*shard, index));
      response->set_leaf(leaf);
      response->set_leaf_hash("sha256:" + LeafHash(leaf).Hex());
      response->set_proof(EncodeProof(proof));
      return OkStatus();
    }
    return ErrorF(StatusCode::kNotFound, "no shard of that origin; `inferctl audit log` names it");
  }

  Status Report(const v1::GetReportRequest& request, v1::GetReportResponse* response) {
    IndexQuery query;
    query.tenant = request.tenant();
    ASSIGN_OR_RETURN(query.from, OptionalTime(request.from()));
    ASSIGN_OR_RETURN(query.to, OptionalTime(request.to()));
    RETURN_IF_ERROR(RecordReview(LeafType::kReviewExported, "report", request.tenant(), ""));
    RETURN_IF_ERROR(state_.CatchUp());
    ASSIGN_OR_RETURN(const auto uses, state_.index().Usage(query));
    for (const UsageRow& use : uses) {
      v1::ModelUse* out = response->add_uses();
      out->set_model(use.model);
      out->set_digest(use.digest);
      out->set_requests(use.requests);
      out->set_completed(use.completed);
      out->set_failed(use.failed);
      out->set_input_tokens(use.tokens_in);
      out->set_output_tokens(use.tokens_out);
    }
    ASSIGN_OR_RETURN(const auto refusals, state_.index().Refusals(query));
    for (const RefusalRow& refusal : refusals) {
      v1::RefusalCount* out = response->add_refusals();
      out->set_reason(refusal.reason);
      out->set_status(refusal.status);
      out->set_count(refusal.count);
    }
    // Acts on the whole daemon belong to every tenant's report.
    query.tenant.clear();
    query.oldest_first = true;
    query.rows_max = kSearchRowsMax;
    query.administrative = true;
    ASSIGN_OR_RETURN(const auto acts, state_.index().Search(query));
    for (const IndexRow& act : acts) {
      if (request.tenant().empty() || act.tenant == request.tenant() || act.tenant == kLogTenant) {
        Fill(act, response->add_acts());
      }
    }
    return OkStatus();
  }

  Status MakeHold(const v1::SetHoldRequest& request, v1::SetHoldResponse* response) {
    HoldScope scope{.tenant = request.tenant()};
    if (!request.end_user().empty()) {
      scope.subject = state_.SubjectOf(request.tenant(), request.end_user());
    }
    ASSIGN_OR_RETURN(scope.from, OptionalTime(request.from()));
    ASSIGN_OR_RETURN(scope.to, OptionalTime(request.to()));
    scope.rids.assign(request.rids().begin(), request.rids().end());
    ASSIGN_OR_RETURN(const Hold hold, state_.retention().SetHold(actor_, scope, request.basis()));
    Fill(hold, response->mutable_hold());
    return OkStatus();
  }

  AuditState& state_;
  const ActorFacts actor_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAuditService(AuditState& state, const std::string& actor_id) {
  return std::make_unique<Service>(state, actor_id);
}

}  // namespace inferd
