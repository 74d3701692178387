#include "daemon/queue_service.h"

#include <algorithm>
#include <unordered_map>

#include "daemon/admin_call.h"
#include "daemon/explain_queue.h"
#include "governance/registry/model_reference.h"
#include "inferd/v1/queue.grpc.pb.h"

namespace inferd {
namespace {

class Service final : public v1::QueueService::Service {
 public:
  explicit Service(const QueueServiceParts& parts) : parts_(parts) {}

  grpc::Status GetLoad(grpc::ServerContext* context,
                       const v1::GetLoadRequest*,
                       v1::GetLoadResponse* response) override {
    return AdminCall(parts_.gate, "QueueService/GetLoad", *context, [&](const Caller&) {
      return Load(response);
    });
  }

  grpc::Status ExplainQueue(grpc::ServerContext* context,
                            const v1::ExplainQueueRequest* request,
                            v1::ExplainQueueResponse* response) override {
    return AdminCall(parts_.gate, "QueueService/ExplainQueue", *context, [&](const Caller& caller) {
      const TenantId* only = caller.Has(Role::kOperator) ? nullptr : &caller.tenant;
      RETURN_IF_ERROR(ExplainRequests(parts_.engine, parts_.registry, only, *request, response));
      return response->requests().empty() && !request->request_id().empty()
                 ? ErrorF(StatusCode::kNotFound, "no request of that id waits or runs")
                 : OkStatus();
    });
  }

 private:
  // Of the models in memory, by their slots: name and version.
  using Names = std::unordered_map<uint32_t, std::pair<std::string, std::string>>;

  Status Load(v1::GetLoadResponse* response) const {
    const EngineReport report = parts_.engine.Report();
    FillDuration(parts_.clock.Now().time_since_epoch(), response->mutable_sampled_at());
    Names names;
    for (const ModelDirectory::Entry& entry : parts_.models.List()) {
      v1::ModelLoad* model = response->add_models();
      for (const MemoryUse& use : report.memory) {
        if (use.model == entry.name + ':' + entry.version) {
          model->set_weight_slabs(use.weight_slabs);
          model->set_kv_slabs(use.kv_slabs);
        }
      }
      model->set_model(entry.name);
      model->set_version(entry.version);
      if (entry.ready()) {
        names.emplace(entry.model->slot.value(), std::pair(entry.name, entry.version));
        model->set_digest(DigestText(entry.model->digest));
        model->set_weight_bytes(entry.model->weight_bytes);
        model->set_kv_tokens_max(entry.model->kv_tokens_max);
      }
    }
    for (const TenantStanding& standing : report.tenants) {
      FillTenant(standing, names, response->add_tenants());
    }
    response->set_steps(report.stats.steps);
    response->set_preemptions(report.stats.preemptions);
    response->set_kv_blocks_used(report.stats.kv_blocks_used);
    response->set_kv_blocks_cached(report.stats.kv_blocks_cached);
    response->set_kv_blocks_total(report.stats.kv_blocks_total);
    response->set_fairness_window_units(report.fairness_window_units);
    response->set_memory_slabs_max(report.memory_slabs_max);
    return OkStatus();
  }

  static void FillTenant(const TenantStanding& standing, const Names& names, v1::TenantLoad* out) {
    out->set_tenant(standing.tenant.value());
    out->set_weight(standing.weight);
    out->set_service_units(standing.service_units);
    out->set_lead_units(standing.lead_units);
    out->set_backlogged(standing.backlogged);
    out->set_over_served(standing.over_served);
    for (const TenantLoad& load : standing.loads) {
      v1::TenantModelLoad* of_model = out->add_loads();
      const auto name = names.find(load.model.value());
      if (name != names.end()) {
        of_model->set_model(name->second.first);
        of_model->set_version(name->second.second);
      }
      of_model->set_running(load.running);
      of_model->set_waiting(load.waiting);
      of_model->set_paused(load.paused);
      of_model->set_kv_blocks(load.kv_blocks);
      of_model->set_prompt_tokens(load.prompt_tokens);
      of_model->set_cached_tokens(load.cached_tokens);
      of_model->set_output_tokens(load.output_tokens);
    }
  }

  const QueueServiceParts parts_;
};

class AdminService final : public v1::ModelAdminService::Service {
 public:
  AdminService(ModelAdmin& models, const CallGate& gate) : models_(models), gate_(gate) {}

  grpc::Status LoadModel(grpc::ServerContext* context,
                         const v1::LoadModelRequest* request,
                         v1::LoadModelResponse* response) override {
    return AdminCall(gate_, "ModelAdminService/LoadModel", *context, [&](const Caller&) -> Status {
      ASSIGN_OR_RETURN(const Digest digest, Load(*request));
      response->set_digest(DigestText(digest));
      return OkStatus();
    });
  }

  grpc::Status UnloadModel(grpc::ServerContext* context,
                           const v1::UnloadModelRequest* request,
                           v1::UnloadModelResponse*) override {
    return AdminCall(gate_, "ModelAdminService/UnloadModel", *context, [&](const Caller&) {
      return Unload(*request);
    });
  }

 private:
  static constexpr Duration kDrainMax = std::chrono::minutes(5);
  static constexpr int64_t kDrainSecondsMax = 86'400;

  StatusOr<Digest> Load(const v1::LoadModelRequest& request) {
    ASSIGN_OR_RETURN(const ModelReference reference, ParseModelReference(request.model()));
    if (reference.kind != ModelReference::Kind::kName &&
        reference.kind != ModelReference::Kind::kVersion) {
      return ErrorF(StatusCode::kInvalidArgument, "model: is NAME or NAME:VERSION");
    }
    ModelEntry entry = {.name = reference.name,
                        .path = request.path(),
                        .context_tokens_max = request.context_tokens_max()};
    if (!reference.label.empty()) {
      entry.version = reference.label;
    }
    return models_.Load(entry);
  }

  Status Unload(const v1::UnloadModelRequest& request) {
    Duration drain_max = kDrainMax;
    if (request.has_drain_max()) {
      const int64_t seconds = request.drain_max().seconds();
      if (seconds < 0 || seconds > kDrainSecondsMax || request.drain_max().nanos() < 0) {
        return ErrorF(StatusCode::kInvalidArgument, "drain_max: is not in [0 s, 1 day]");
      }
      drain_max = std::chrono::seconds(seconds) + Duration(request.drain_max().nanos());
    }
    return models_.Unload(request.model(), drain_max);
  }

  ModelAdmin& models_;
  const CallGate gate_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeQueueService(const QueueServiceParts& parts) {
  return std::make_unique<Service>(parts);
}

std::unique_ptr<grpc::Service> MakeModelAdminService(ModelAdmin& models, const CallGate& gate) {
  return std::make_unique<AdminService>(models, gate);
}

}  // namespace inferd
