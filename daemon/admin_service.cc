#include "daemon/admin_service.h"

#include <grpcpp/server_context.h>

#include <vector>

#include "daemon/admin_call.h"
#include "daemon/admin_payload.h"
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

class Service final : public v1::AuditService::Service {
 public:
  Service(AuditState& state, const CallGate& gate) : state_(state), gate_(gate) {}

  grpc::Status GetLog(grpc::ServerContext* context,
                      const v1::GetLogRequest*,
                      v1::GetLogResponse* response) override {
    return Run("AuditService/GetLog", context, [&](const ActorFacts&) -> Status {
      return FillLog(response);
    });
  }

  grpc::Status SearchLeaves(grpc::ServerContext* context,
                            const v1::SearchLeavesRequest* request,
                            v1::SearchLeavesResponse* response) override {
    return Run("AuditService/SearchLeaves", context, [&](const ActorFacts& actor) -> Status {
      return Search(actor, *request, response);
    });
  }

  grpc::Status GetLeaf(grpc::ServerContext* context,
                       const v1::GetLeafRequest* request,
                       v1::GetLeafResponse* response) override {
    return Run("AuditService/GetLeaf", context, [&](const ActorFacts& actor) -> Status {
      return ReadLeaf(actor, *request, response);
    });
  }

  grpc::Status GetReport(grpc::ServerContext* context,
                         const v1::GetReportRequest* request,
                         v1::GetReportResponse* response) override {
    return Run("AuditService/GetReport", context, [&](const ActorFacts& actor) -> Status {
      return Report(actor, *request, response);
    });
  }

  grpc::Status BeginExport(grpc::ServerContext* context,
                           const v1::BeginExportRequest*,
                           v1::BeginExportResponse* response) override {
    return Run("AuditService/BeginExport", context, [&](const ActorFacts& actor) -> Status {
      RETURN_IF_ERROR(RecordReview(actor, LeafType::kReviewExported, "log", "", ""));
      return FillLog(response->mutable_log());
    });
  }

  grpc::Status SetHold(grpc::ServerContext* context,
                       const v1::SetHoldRequest* request,
                       v1::SetHoldResponse* response) override {
    return Run("AuditService/SetHold", context, [&](const ActorFacts& actor) -> Status {
      return MakeHold(actor, *request, response);
    });
  }

  grpc::Status ReleaseHold(grpc::ServerContext* context,
                           const v1::ReleaseHoldRequest* request,
                           v1::ReleaseHoldResponse* response) override {
    return Run("AuditService/ReleaseHold", context, [&](const ActorFacts& actor) -> Status {
      ASSIGN_OR_RETURN(const Hold hold, state_.retention().ReleaseHold(actor, request->id()));
      Fill(hold, response->mutable_hold());
      return OkStatus();
    });
  }

  grpc::Status ListHolds(grpc::ServerContext* context,
                         const v1::ListHoldsRequest*,
                         v1::ListHoldsResponse* response) override {
    return Run("AuditService/ListHolds", context, [&](const ActorFacts&) -> Status {
      ASSIGN_OR_RETURN(const auto holds, state_.retention().ListHolds());
      for (const Hold& hold : holds) {
        Fill(hold, response->add_holds());
      }
      return OkStatus();
    });
  }

  grpc::Status RequestErasure(grpc::ServerContext* context,
                              const v1::RequestErasureRequest* request,
                              v1::RequestErasureResponse* response) override {
    return Run("AuditService/RequestErasure", context, [&](const ActorFacts& actor) -> Status {
      const SubjectRef subject{.tenant = request->tenant(),
                               .subject = state_.SubjectOf(request->tenant(), request->end_user())};
      ASSIGN_OR_RETURN(const ErasureRecord record,
                       state_.erasure().Request(actor, subject, request->basis()));
      Fill(record, response->mutable_erasure());
      return OkStatus();
    });
  }

  grpc::Status ApproveErasure(grpc::ServerContext* context,
                              const v1::ApproveErasureRequest* request,
                              v1::ApproveErasureResponse* response) override {
    return Run("AuditService/ApproveErasure", context, [&](const ActorFacts& actor) -> Status {
      ASSIGN_OR_RETURN(const ErasureRecord record, state_.erasure().Approve(actor, request->id()));
      Fill(record, response->mutable_erasure());
      return OkStatus();
    });
  }

  grpc::Status ListErasures(grpc::ServerContext* context,
                            const v1::ListErasuresRequest*,
                            v1::ListErasuresResponse* response) override {
    return Run("AuditService/ListErasures", context, [&](const ActorFacts&) -> Status {
      ASSIGN_OR_RETURN(const auto records, state_.erasure().List());
      for (const ErasureRecord& record : records) {
        Fill(record, response->add_erasures());
      }
      return OkStatus();
    });
  }

  grpc::Status ListWitnesses(grpc::ServerContext* context,
                             const v1::ListWitnessesRequest*,
                             v1::ListWitnessesResponse* response) override {
    return Run("AuditService/ListWitnesses", context, [&](const ActorFacts&) -> Status {
      FillWitnesses(state_, *response);
      return OkStatus();
    });
  }

  grpc::Status RequestPayload(grpc::ServerContext* context,
                              const v1::RequestPayloadRequest* request,
                              v1::RequestPayloadResponse* response) override {
    return Run("AuditService/RequestPayload", context, [&](const ActorFacts& actor) -> Status {
      ASSIGN_OR_RETURN(const PayloadView view, inferd::RequestPayload(state_, actor, *request));
      Fill(view, *response->mutable_view());
      return OkStatus();
    });
  }

  grpc::Status ApprovePayload(grpc::ServerContext* context,
                              const v1::ApprovePayloadRequest* request,
                              v1::ApprovePayloadResponse* response) override {
    return Run("AuditService/ApprovePayload", context, [&](const ActorFacts& actor) -> Status {
      ASSIGN_OR_RETURN(const PayloadView view, state_.payloads().Approve(actor, request->id()));
      Fill(view, *response->mutable_view());
      return OkStatus();
    });
  }

  grpc::Status OpenPayload(grpc::ServerContext* context,
                           const v1::OpenPayloadRequest* request,
                           v1::OpenPayloadResponse* response) override {
    return Run("AuditService/OpenPayload", context, [&](const ActorFacts& actor) -> Status {
      return inferd::OpenPayload(state_, actor, request->id(), *response);
    });
  }

  grpc::Status ListPayloads(grpc::ServerContext* context,
                            const v1::ListPayloadsRequest*,
                            v1::ListPayloadsResponse* response) override {
    return Run("AuditService/ListPayloads", context, [&](const ActorFacts&) -> Status {
      ASSIGN_OR_RETURN(const auto views, state_.payloads().List());
      for (const PayloadView& view : views) {
        Fill(view, *response->add_views());
      }
      return OkStatus();
    });
  }

 private:
  template <typename Work>
  grpc::Status Run(std::string_view method, grpc::ServerContext* context, Work work) {
    return AdminCall(
        gate_, method, *context, [&](const Caller& caller) { return work(caller.actor); });
  }

  // A read of the log is an act of its own. What was searched for stays out of the leaf.
  Status RecordReview(const ActorFacts& actor,
                      LeafType type,
                      const std::string& what,
                      const std::string& tenant,
                      const std::string& place) {
    LeafDraft draft;
    draft.type = type;
    draft.tenant = TenantId(std::string(kLogTenant));
    draft.actor = actor;
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

  Status Search(const ActorFacts& actor,
                const v1::SearchLeavesRequest& request,
                v1::SearchLeavesResponse* response) {
    ASSIGN_OR_RETURN(IndexQuery query, ToQuery(request.filter()));
    query.oldest_first = request.oldest_first();
    query.rows_max = request.page_size() == 0 ? 100 : request.page_size();
    if (request.has_after()) {
      query.after =
          IndexQuery::Place{.origin = request.after().origin(), .index = request.after().index()};
    } else {
      // Once for all pages of a search.
      RETURN_IF_ERROR(
          RecordReview(actor, LeafType::kReviewOpened, "search", request.filter().tenant(), ""));
    }
    RETURN_IF_ERROR(state_.CatchUp());
    ASSIGN_OR_RETURN(const auto rows, state_.index().Search(query));
    for (const IndexRow& row : rows) {
      Fill(row, response->add_rows());
    }
    return OkStatus();
  }

  Status ReadLeaf(const ActorFacts& actor,
                  const v1::GetLeafRequest& request,
                  v1::GetLeafResponse* response) {
    RETURN_IF_ERROR(state_.log().Flush());
    ASSIGN_OR_RETURN(const auto shards, state_.Shards());
    const std::string& origin = request.place().origin();
    const uint64_t index = request.place().index();
    for (const auto& shard : shards) {
      if (shard->origin() != origin && !(origin.empty() && shard == shards.back())) {
        continue;
      }
      RETURN_IF_ERROR(RecordReview(actor,
                                   LeafType::kReviewOpened,
                                   "leaf",
                                   "",
                                   absl::StrFormat("%s/%d", shard->origin(), index)));
      ASSIGN_OR_RETURN(const std::string leaf, shard->Read(index));
      ASSIGN_OR_RETURN(const TlogProof proof, ProveLeaf(*shard, index));
      response->set_leaf(leaf);
      response->set_leaf_hash("sha256:" + LeafHash(leaf).Hex());
      response->set_proof(EncodeProof(proof));
      return OkStatus();
    }
    return ErrorF(StatusCode::kNotFound, "no shard of that origin; `inferctl audit log` names it");
  }

  Status Report(const ActorFacts& actor,
                const v1::GetReportRequest& request,
                v1::GetReportResponse* response) {
    IndexQuery query;
    query.tenant = request.tenant();
    ASSIGN_OR_RETURN(query.from, OptionalTime(request.from()));
    ASSIGN_OR_RETURN(query.to, OptionalTime(request.to()));
    RETURN_IF_ERROR(RecordReview(actor, LeafType::kReviewExported, "report", request.tenant(), ""));
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

  Status MakeHold(const ActorFacts& actor,
                  const v1::SetHoldRequest& request,
                  v1::SetHoldResponse* response) {
    HoldScope scope{.tenant = request.tenant()};
    if (!request.end_user().empty()) {
      scope.subject = state_.SubjectOf(request.tenant(), request.end_user());
    }
    ASSIGN_OR_RETURN(scope.from, OptionalTime(request.from()));
    ASSIGN_OR_RETURN(scope.to, OptionalTime(request.to()));
    scope.rids.assign(request.rids().begin(), request.rids().end());
    ASSIGN_OR_RETURN(const Hold hold, state_.retention().SetHold(actor, scope, request.basis()));
    Fill(hold, response->mutable_hold());
    return OkStatus();
  }

  AuditState& state_;
  const CallGate gate_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAuditService(AuditState& state, const CallGate& gate) {
  return std::make_unique<Service>(state, gate);
}

}  // namespace inferd
