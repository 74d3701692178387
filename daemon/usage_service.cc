#include "daemon/usage_service.h"

#include <utility>

#include "daemon/admin_call.h"
#include "daemon/quota_file.h"
#include "daemon/usage_text.h"
#include "daemon/worker_call.h"
#include "inferd/v1/usage.grpc.pb.h"

namespace inferd {
namespace {

using RawService = v1::UsageService::WithRawCallbackMethod_GetUsage<
    v1::UsageService::WithRawCallbackMethod_GetQuota<v1::UsageService::Service>>;

class Service final : public RawService {
 public:
  Service(const UsageServiceParts& parts, WorkerPool& workers) : parts_(parts), workers_(workers) {}

  grpc::ServerUnaryReactor* GetUsage(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return RunOnWorker<v1::GetUsageRequest>(
        workers_,
        parts_.gate,
        "UsageService/GetUsage",
        context,
        request,
        response,
        [this](const auto& r, CallScope& s) { return Usage(r, s); });
  }
  grpc::ServerUnaryReactor* GetQuota(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return RunOnWorker<v1::GetQuotaRequest>(
        workers_,
        parts_.gate,
        "UsageService/GetQuota",
        context,
        request,
        response,
        [this](const auto& r, CallScope& s) { return Quota(r, s); });
  }

 private:
  // Of the caller's tenant, whatever is asked for.
  StatusOr<v1::GetUsageResponse> Usage(const v1::GetUsageRequest& request, CallScope& scope) {
    const auto days = ReadDays(request.from(), request.to(), parts_.clock.WallNow());
    if (!days.ok()) {
      return MakeFieldError("from", Message(days.status()));
    }
    QuotaAccount account = AccountOf(scope.caller(), "");
    account.project.clear();
    account.key.clear();
    const auto rows = parts_.history.Select(days->first, days->last, account, /*waits=*/false);
    if (!rows.ok()) {
      return FromRoom(rows.status());
    }
    v1::GetUsageResponse response;
    for (const auto& row : *rows) {
      Fill(row, response.add_rows());
    }
    return response;
  }

  StatusOr<v1::GetQuotaResponse> Quota(const v1::GetQuotaRequest& request, CallScope& scope) {
    v1::GetQuotaResponse response;
    for (const QuotaState& state :
         parts_.governor.ledger().Show(AccountOf(scope.caller(), request.model()))) {
      if (state.mode != QuotaMode::kShadow) {
        Fill(state, response.add_limits());
      }
    }
    return response;
  }

  const UsageServiceParts parts_;
  WorkerPool& workers_;
};

class QuotaAdmin final : public v1::QuotaAdminService::Service {
 public:
  explicit QuotaAdmin(const UsageServiceParts& parts) : parts_(parts) {}

  grpc::Status QueryUsage(grpc::ServerContext* context,
                          const v1::QueryUsageRequest* request,
                          v1::QueryUsageResponse* response) override {
    return Run("QuotaAdminService/QueryUsage", context, [&](const Caller&) -> Status {
      ASSIGN_OR_RETURN(const DayRange days,
                       ReadDays(request->from(), request->to(), parts_.clock.WallNow()));
      ASSIGN_OR_RETURN(
          const auto rows,
          parts_.history.Select(days.first, days.last, ReadAccount(request->account()), true));
      for (const auto& row : rows) {
        Fill(row, response->add_rows());
      }
      return OkStatus();
    });
  }

  grpc::Status ShowQuotas(grpc::ServerContext* context,
                          const v1::ShowQuotasRequest* request,
                          v1::ShowQuotasResponse* response) override {
    return Run("QuotaAdminService/ShowQuotas", context, [&](const Caller&) -> Status {
      ASSIGN_OR_RETURN(const QuotaAccount account, ReadNamedAccount(request->account()));
      for (const QuotaState& state : parts_.governor.ledger().Show(account)) {
        Fill(state, response->add_limits());
      }
      return OkStatus();
    });
  }

  grpc::Status ExplainQuota(grpc::ServerContext* context,
                            const v1::ExplainQuotaRequest* request,
                            v1::ExplainQuotaResponse* response) override {
    return Run("QuotaAdminService/ExplainQuota", context, [&](const Caller&) -> Status {
      ASSIGN_OR_RETURN(const QuotaAccount account, ReadNamedAccount(request->account()));
      const uint64_t kv = std::min(request->input_tokens(), kQuotaUnitsMax) +
                          std::min(request->output_tokens(), kQuotaUnitsMax);
      const QuotaRefusal refusal = parts_.governor.ledger().Explain(
          account,
          {.in = request->input_tokens(), .out = request->output_tokens(), .conc = 1, .kv = kv});
      response->set_passes(refusal.violations.empty());
      for (const QuotaViolation& violation : refusal.violations) {
        Fill(violation, response->add_refusals());
      }
      if (refusal.retry_after.has_value()) {
        Fill(*refusal.retry_after, response->mutable_passes_in());
      }
      return OkStatus();
    });
  }

  grpc::Status SimulateQuotas(grpc::ServerContext* context,
                              const v1::SimulateQuotasRequest* request,
                              v1::SimulateQuotasResponse* response) override {
    return Run("QuotaAdminService/SimulateQuotas", context, [&](const Caller&) -> Status {
      ASSIGN_OR_RETURN(const DayRange days,
                       ReadDays(request->from(), request->to(), parts_.clock.WallNow()));
      ASSIGN_OR_RETURN(
          std::vector<QuotaLimit> limits,
          ParseQuotaFile(request->limits(), request->name().empty() ? "limits" : request->name()));
      ASSIGN_OR_RETURN(const QuotaSimulation simulation,
                       parts_.history.Simulate(days.first, days.last, std::move(limits)));
      Fill(simulation, *response);
      return OkStatus();
    });
  }

  grpc::Status SetQuota(grpc::ServerContext* context,
                        const v1::SetQuotaRequest* request,
                        v1::SetQuotaResponse*) override {
    return Run("QuotaAdminService/SetQuota", context, [&](const Caller& caller) -> Status {
      ASSIGN_OR_RETURN(const QuotaLimit limit, ReadLimit(*request, parts_.clock.WallNow()));
      return parts_.governor.limits().Set(caller.actor.id, limit);
    });
  }

  grpc::Status RemoveQuota(grpc::ServerContext* context,
                           const v1::RemoveQuotaRequest* request,
                           v1::RemoveQuotaResponse*) override {
    return Run("QuotaAdminService/RemoveQuota", context, [&](const Caller& caller) -> Status {
      return parts_.governor.limits().Remove(caller.actor.id, request->id());
    });
  }

 private:
  template <typename Work>
  grpc::Status Run(std::string_view method, grpc::ServerContext* context, Work work) {
    return AdminCall(parts_.gate, method, *context, std::move(work));
  }

  const UsageServiceParts parts_;
};

class PolicyAdmin final : public v1::PolicyAdminService::Service {
 public:
  explicit PolicyAdmin(const UsageServiceParts& parts) : parts_(parts) {}

  grpc::Status GetPolicies(grpc::ServerContext* context,
                           const v1::GetPoliciesRequest*,
                           v1::GetPoliciesResponse* response) override {
    return Run("PolicyAdminService/GetPolicies", context, [&](PolicyStore& store, const Caller&) {
      Fill(store, *response);
      return OkStatus();
    });
  }

  grpc::Status GetPolicySet(grpc::ServerContext* context,
                            const v1::GetPolicySetRequest* request,
                            v1::GetPolicySetResponse* response) override {
    return Run("PolicyAdminService/GetPolicySet",
               context,
               [&](PolicyStore& store, const Caller&) -> Status {
                 ASSIGN_OR_RETURN(const PolicySet::Pointer set, FindSet(store, request->set()));
                 response->set_set(set->digest().Hex());
                 response->set_schema(std::string(set->schema_text()));
                 response->set_policies(std::string(set->policies_text()));
                 return OkStatus();
               });
  }

  grpc::Status ProposePolicy(grpc::ServerContext* context,
                             const v1::ProposePolicyRequest* request,
                             v1::ProposePolicyResponse* response) override {
    return Run("PolicyAdminService/ProposePolicy",
               context,
               [&](PolicyStore& store, const Caller& caller) -> Status {
                 std::string schema = request->schema();
                 if (const auto active = store.active(); schema.empty() && active != nullptr) {
                   schema = active->schema_text();
                 }
                 ASSIGN_OR_RETURN(const PolicySet::Pointer set,
                                  PolicySet::Parse(schema, request->policies()));
                 RETURN_IF_ERROR(store.Propose(caller.actor.id, set));
                 response->set_set(set->digest().Hex());
                 response->set_warnings(set->warnings());
                 return OkStatus();
               });
  }

  grpc::Status ApprovePolicy(grpc::ServerContext* context,
                             const v1::ApprovePolicyRequest* request,
                             v1::ApprovePolicyResponse*) override {
    return Run("PolicyAdminService/ApprovePolicy",
               context,
               [&](PolicyStore& store, const Caller& caller) -> Status {
                 ASSIGN_OR_RETURN(const Digest set, Digest::FromHex(request->set()));
                 return store.Approve(caller.actor.id, set).status();
               });
  }

  grpc::Status ActivatePolicy(grpc::ServerContext* context,
                              const v1::ActivatePolicyRequest* request,
                              v1::ActivatePolicyResponse* response) override {
    return Run("PolicyAdminService/ActivatePolicy",
               context,
               [&](PolicyStore& store, const Caller& caller) -> Status {
                 ASSIGN_OR_RETURN(const Digest set, Digest::FromHex(request->set()));
                 ASSIGN_OR_RETURN(const PolicyChange change, store.Activate(caller.actor.id, set));
                 response->set_replaced(change.replaces ? change.replaces->Hex() : "");
                 return OkStatus();
               });
  }

 private:
  template <typename Work>
  grpc::Status Run(std::string_view method, grpc::ServerContext* context, Work work) {
    return AdminCall(parts_.gate, method, *context, [&](const Caller& caller) -> Status {
      PolicyStore* const store = parts_.governor.policies();
      if (store == nullptr) {
        return ErrorF(StatusCode::kFailedPrecondition,
                      "there are no policies; policy.schema and policy.policies of the "
                      "configuration name the first set");
      }
      return work(*store, caller);
    });
  }

  static StatusOr<PolicySet::Pointer> FindSet(const PolicyStore& store, const std::string& hex) {
    if (hex.empty()) {
      const PolicySet::Pointer active = store.active();
      return active != nullptr ? StatusOr<PolicySet::Pointer>(active)
                               : ErrorF(StatusCode::kNotFound, "there is no active policy set");
    }
    ASSIGN_OR_RETURN(const Digest digest, Digest::FromHex(hex));
    return store.Find(digest);
  }

  const UsageServiceParts parts_;
};

}  // namespace

StatusOr<UsageReport::Rows> UsageHistory::Select(UtcDay first,
                                                 UtcDay last,
                                                 const QuotaAccount& account,
                                                 bool waits) {
  if (audit_ == nullptr) {
    return ErrorF(StatusCode::kFailedPrecondition, "usage is in the audit log, which is off");
  }
  std::unique_lock<std::mutex> lock(mutex_.std_mutex(), std::defer_lock);
  if (waits) {
    lock.lock();
  } else if (!lock.try_lock()) {
    return MakeError(Reason::kQueueFull, "usage is being read; try again");
  }
  return SelectLocked(first, last, account);
}

StatusOr<UsageReport::Rows> UsageHistory::SelectLocked(UtcDay first,
                                                       UtcDay last,
                                                       const QuotaAccount& account) {
  RETURN_IF_ERROR(audit_->log().Flush());
  ASSIGN_OR_RETURN(const auto shards, audit_->Shards());
  for (const auto& shard : shards) {
    RETURN_IF_ERROR(report_.CatchUp(*shard));
  }
  return report_.Select(first, last, account);
}

StatusOr<QuotaSimulation> UsageHistory::Simulate(UtcDay first,
                                                 UtcDay last,
                                                 std::vector<QuotaLimit> limits) const {
  if (audit_ == nullptr) {
    return ErrorF(StatusCode::kFailedPrecondition, "traffic is in the audit log, which is off");
  }
  RETURN_IF_ERROR(audit_->log().Flush());
  ASSIGN_OR_RETURN(const auto shards, audit_->Shards());
  std::vector<EntryReader*> readers;
  for (const auto& shard : shards) {
    readers.push_back(shard.get());
  }
  return SimulateQuotas(readers, std::move(limits), StartOfDay(first), StartOfDay(last + 1));
}

std::unique_ptr<grpc::Service> MakeUsageService(const UsageServiceParts& parts,
                                                WorkerPool& workers) {
  return std::make_unique<Service>(parts, workers);
}

std::unique_ptr<grpc::Service> MakeQuotaAdminService(const UsageServiceParts& parts) {
  return std::make_unique<QuotaAdmin>(parts);
}

std::unique_ptr<grpc::Service> MakePolicyAdminService(const UsageServiceParts& parts) {
  return std::make_unique<PolicyAdmin>(parts);
}

}  // namespace inferd
