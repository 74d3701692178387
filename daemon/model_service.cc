#include "daemon/model_service.h"

#include <algorithm>

#include "daemon/error_map.h"
#include "daemon/worker_call.h"
#include "inferd/v1/model.grpc.pb.h"

namespace inferd {
namespace {

using RawService = v1::ModelService::WithRawCallbackMethod_ListModels<
    v1::ModelService::WithRawCallbackMethod_GetModel<v1::ModelService::Service>>;

void Fill(const ModelDirectory::Entry& entry, v1::Model* out) {
  out->mutable_ref()->set_name(entry.name);
  out->mutable_ref()->set_version(entry.version);
  out->set_state(entry.ready() ? v1::MODEL_STATE_READY : v1::MODEL_STATE_LOADING);
  if (!entry.ready()) {
    return;
  }
  const ResidentModel& model = *entry.model;
  out->mutable_ref()->set_digest(DigestText(model.digest));
  out->set_display_name(model.config.name);
  out->set_architecture(model.config.architecture);
  out->set_quantization(model.quantization);
  out->set_context_tokens_max(model.config.context_tokens_max);
  out->set_vocab_size(model.config.vocab_size);
  if (model.chat_template != nullptr) {
    out->set_template_digest(DigestText(model.template_digest));
  }
  out->set_numerics_id(DigestText(model.numerics_id));
  out->set_device(entry.device);
  out->set_file_bytes(model.file_bytes);
  out->set_weight_bytes(model.weight_bytes);
  out->set_kv_tokens_max(model.kv_tokens_max);
  out->set_adds_bos(model.add_bos);
  out->mutable_end_token_ids()->Add(model.end_tokens.begin(), model.end_tokens.end());
}

class Service final : public RawService {
 public:
  explicit Service(const ModelServiceParts& parts) : parts_(parts) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return RunOnWorker<v1::ListModelsRequest>(
        parts_.workers,
        parts_.gate,
        "ModelService/ListModels",
        context,
        request,
        response,
        [this](const auto& r, CallScope& scope) { return List(r, scope); });
  }
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return RunOnWorker<v1::GetModelRequest>(
        parts_.workers,
        parts_.gate,
        "ModelService/GetModel",
        context,
        request,
        response,
        [this](const auto& r, CallScope& scope) { return Get(r, scope); });
  }

 private:
  // POLICY_DENIED, and then `denied` says why. Where policies are on, what is still loading is seen
  // by nobody, MODEL_LOADING: policies decide by its digest, which is not known yet.
  Status MaySee(const CallScope& scope,
                const ModelDirectory::Entry& entry,
                PolicyFacts* denied = nullptr) const {
    if (!parts_.governor.has_policies()) {
      return OkStatus();
    }
    if (!entry.ready()) {
      return MakeError(Reason::kModelLoading, absl::StrFormat("model %s is loading", entry.name));
    }
    return parts_.governor.MayUse(scope, "list_models", *entry.model, 0, denied).status();
  }

  StatusOr<v1::ListModelsResponse> List(const v1::ListModelsRequest& request,
                                        const CallScope& scope) const {
    if (request.page_size() < 0 || request.page_size() > kModelPageSizeMax) {
      return MakeFieldError(
          "page_size",
          absl::StrFormat("%d is not in [0, %d]", request.page_size(), kModelPageSizeMax));
    }
    const int page_size = request.page_size() == 0 ? kModelPageSizeDefault : request.page_size();
    v1::ListModelsResponse response;
    // The token is the last version of the page before, whether it is still there or not. A space
    // stands in no name and before all that do.
    const auto token = [](const std::string& name, const std::string& version) {
      return name + ' ' + version;
    };
    for (const ModelDirectory::Entry& entry : parts_.models.List(scope.caller().tenant)) {
      if (token(entry.name, entry.version) <= request.page_token() || !MaySee(scope, entry).ok()) {
        continue;
      }
      if (response.models_size() == page_size) {
        const v1::ModelRef& last = response.models(page_size - 1).ref();
        response.set_next_page_token(token(last.name(), last.version()));
        break;
      }
      Fill(entry, response.add_models());
    }
    return response;
  }

  StatusOr<v1::GetModelResponse> Get(const v1::GetModelRequest& request, CallScope& scope) const {
    ASSIGN_OR_RETURN(
        const ModelDirectory::Entry entry,
        parts_.models.Find({.reference = request.model(), .tenant = scope.caller().tenant}));
    scope.set_model(entry.name);  // ours: what was asked for may be any text
    PolicyFacts denied;
    if (const Status seen = MaySee(scope, entry, &denied); !seen.ok()) {
      if (ReasonOf(seen) == Reason::kPolicyDenied) {
        parts_.gate.RecordDenial(scope, seen, denied);
      }
      return seen;
    }
    v1::GetModelResponse response;
    Fill(entry, response.mutable_model());
    return response;
  }

  const ModelServiceParts parts_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeModelService(const ModelServiceParts& parts) {
  return std::make_unique<Service>(parts);
}

}  // namespace inferd
