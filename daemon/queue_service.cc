#include "daemon/queue_service.h"

#include <algorithm>
#include <unordered_map>

#include "daemon/admin_call.h"
#include "inferd/v1/queue.grpc.pb.h"

namespace inferd {
namespace {

constexpr int32_t kRequestsDefault = 20;
constexpr int32_t kRequestsMax = 1000;

void Fill(Duration duration, google::protobuf::Duration* out) {
  constexpr int64_t kNanosPerSecond = 1'000'000'000;
  out->set_seconds(duration.count() / kNanosPerSecond);
  out->set_nanos(static_cast<int32_t>(duration.count() % kNanosPerSecond));
}

v1::WaitReason ReasonFor(ChoiceReport::State state) {
  switch (state) {
    case ChoiceReport::State::kRunning:
      return v1::WAIT_REASON_RUNNING;
    case ChoiceReport::State::kPaused:
      return v1::WAIT_REASON_PAUSED;
    case ChoiceReport::State::kModel:
      return v1::WAIT_REASON_MODEL_LOADING;
    case ChoiceReport::State::kTenantCap:
      return v1::WAIT_REASON_TENANT_LIMIT;
    case ChoiceReport::State::kOwnQueue:
      return v1::WAIT_REASON_OWN_QUEUE;
    case ChoiceReport::State::kOthersTurn:
      return v1::WAIT_REASON_OTHERS_TURN;
    case ChoiceReport::State::kRoom:
      break;
  }
  return v1::WAIT_REASON_MEMORY;
}

void Fill(const ChoiceReport& report, v1::QueuedChoice* out) {
  out->set_choice(report.choice);
  out->set_reason(ReasonFor(report.state));
  Fill(report.age, out->mutable_age());
  out->set_output_tokens(report.output_tokens);
  out->set_preemptions(report.preemptions);
  out->set_position(report.num_before);
  out->set_units_ahead(report.units_ahead);
  out->set_num_tenants_ahead(report.num_ahead);
  for (const ChoiceReport::Ahead& ahead : report.ahead) {
    v1::TenantAhead* tenant = out->add_ahead();
    tenant->set_tenant(ahead.tenant.value());
    tenant->set_weight(ahead.weight);
    tenant->set_behind_units(ahead.behind_units);
    tenant->set_waiting(ahead.waiting);
  }
  if (report.starts_in.has_value()) {
    Fill(*report.starts_in, out->mutable_starts_in());
  }
  out->set_blocks_needed(report.blocks_needed);
  out->set_blocks_available(report.blocks_available);
}

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
    return AdminCall(parts_.gate, "QueueService/ExplainQueue", *context, [&](const Caller&) {
      return Explain(*request, response);
    });
  }

 private:
  Status Load(v1::GetLoadResponse* response) const {
    const EngineReport report = parts_.engine.Report();
    Fill(parts_.clock.Now().time_since_epoch(), response->mutable_sampled_at());
    std::unordered_map<uint32_t, std::string> names;
    for (const ModelDirectory::Entry& entry : parts_.models.List()) {
      v1::ModelLoad* model = response->add_models();
      for (const MemoryUse& use : report.memory) {
        if (use.model == entry.name) {
          model->set_weight_slabs(use.weight_slabs);
          model->set_kv_slabs(use.kv_slabs);
        }
      }
      model->set_model(entry.name);
      if (entry.ready()) {
        names.emplace(entry.model->slot.value(), entry.name);
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

  Status Explain(const v1::ExplainQueueRequest& request, v1::ExplainQueueResponse* response) const {
    if (request.limit() < 0 || request.limit() > kRequestsMax) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "limit: %d is not in [0, %d]",
                    request.limit(),
                    kRequestsMax);
    }
    const int32_t limit = request.limit() == 0 ? kRequestsDefault : request.limit();
    const auto calls =
        parts_.registry.ListSubmitted(request.request_id(), static_cast<size_t>(limit));
    std::vector<StreamHandle> handles;
    std::unordered_map<StreamHandle, const StreamRegistry::Submitted*> by_handle;
    for (const StreamRegistry::Submitted& call : calls) {
      handles.push_back(call.handle);
      by_handle.emplace(call.handle, &call);
    }
    for (const StreamReport& report : parts_.engine.Explain(handles)) {
      const StreamRegistry::Submitted& call = *by_handle.at(report.stream);
      v1::QueuedRequest* out = response->add_requests();
      out->set_request_id(call.request_id);
      out->set_rid(call.rid);
      out->set_tenant(call.tenant.value());
      out->set_model(call.model);
      for (const ChoiceReport& choice : report.choices) {
        Fill(choice, out->add_choices());
      }
    }
    if (response->requests().empty() && !request.request_id().empty()) {
      return ErrorF(StatusCode::kNotFound, "no request of that id waits or runs");
    }
    return OkStatus();
  }

  static void FillTenant(const TenantStanding& standing,
                         const std::unordered_map<uint32_t, std::string>& names,
                         v1::TenantLoad* out) {
    out->set_tenant(standing.tenant.value());
    out->set_weight(standing.weight);
    out->set_service_units(standing.service_units);
    out->set_lead_units(standing.lead_units);
    out->set_backlogged(standing.backlogged);
    out->set_over_served(standing.over_served);
    for (const TenantLoad& load : standing.loads) {
      v1::TenantModelLoad* of_model = out->add_loads();
      const auto name = names.find(load.model.value());
      of_model->set_model(name == names.end() ? "" : name->second);
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
      ASSIGN_OR_RETURN(const Digest digest,
                       models_.Load({.name = request->model(),
                                     .path = request->path(),
                                     .context_tokens_max = request->context_tokens_max()}));
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
