#include "client/queue_client.h"

#include <absl/strings/ascii.h>

#include "client/admin_call.h"
#include "inferd/v1/queue.grpc.pb.h"

namespace inferd {
namespace {

Duration FromWire(const google::protobuf::Duration& duration) {
  return std::chrono::seconds(duration.seconds()) + Duration(duration.nanos());
}

// WAIT_REASON_OTHERS_TURN: "others_turn".
std::string ReasonText(v1::WaitReason reason) {
  constexpr size_t kPrefix = sizeof("WAIT_REASON_") - 1;
  const std::string name = v1::WaitReason_Name(reason);
  return name.size() > kPrefix ? absl::AsciiStrToLower(name.substr(kPrefix)) : "unspecified";
}

TenantUse FromWire(const v1::TenantLoad& in) {
  TenantUse out{.tenant = in.tenant(),
                .weight = in.weight(),
                .service_units = in.service_units(),
                .lead_units = in.lead_units(),
                .backlogged = in.backlogged(),
                .over_served = in.over_served(),
                .models = {}};
  for (const v1::TenantModelLoad& load : in.loads()) {
    out.models.push_back({.model = load.model(),
                          .version = load.version(),
                          .running = load.running(),
                          .waiting = load.waiting(),
                          .paused = load.paused(),
                          .kv_blocks = load.kv_blocks(),
                          .prompt_tokens = load.prompt_tokens(),
                          .cached_tokens = load.cached_tokens(),
                          .output_tokens = load.output_tokens()});
  }
  return out;
}

WaitingChoice FromWire(const v1::QueuedRequest& request, const v1::QueuedChoice& in) {
  WaitingChoice out;
  out.request_id = request.request_id();
  out.rid = request.rid();
  out.tenant = request.tenant();
  out.model = request.model();
  out.version = request.version();
  out.choice = in.choice();
  out.reason = ReasonText(in.reason());
  out.age = FromWire(in.age());
  out.output_tokens = in.output_tokens();
  out.preemptions = in.preemptions();
  out.position = in.position();
  out.units_ahead = in.units_ahead();
  for (const v1::TenantAhead& ahead : in.ahead()) {
    out.ahead.push_back({.tenant = ahead.tenant(),
                         .weight = ahead.weight(),
                         .behind_units = ahead.behind_units(),
                         .waiting = ahead.waiting()});
  }
  out.num_tenants_ahead = in.num_tenants_ahead();
  if (in.has_starts_in()) {
    out.starts_in = FromWire(in.starts_in());
  }
  out.blocks_needed = in.blocks_needed();
  out.blocks_available = in.blocks_available();
  return out;
}

}  // namespace

struct QueueClient::Stub {
  std::unique_ptr<v1::QueueService::Stub> service;
  std::unique_ptr<v1::ModelAdminService::Stub> models;
};

QueueClient::QueueClient(const std::string& endpoint, Duration timeout)
    : timeout_(timeout), stub_(std::make_unique<Stub>()) {
  const auto channel = AdminChannel(endpoint);
  stub_->service = v1::QueueService::NewStub(channel);
  stub_->models = v1::ModelAdminService::NewStub(channel);
}

QueueClient::~QueueClient() = default;

StatusOr<DaemonLoad> QueueClient::GetLoad() {
  grpc::ClientContext context;
  context.set_deadline(SystemClock().WallNow() + timeout_);
  v1::GetLoadResponse response;
  const grpc::Status status = stub_->service->GetLoad(&context, {}, &response);
  if (!status.ok()) {
    return StatusFromWire(status);
  }
  DaemonLoad load{.sampled_at = FromWire(response.sampled_at()),
                  .tenants = {},
                  .steps = response.steps(),
                  .preemptions = response.preemptions(),
                  .kv_blocks_used = response.kv_blocks_used(),
                  .kv_blocks_cached = response.kv_blocks_cached(),
                  .kv_blocks_total = response.kv_blocks_total(),
                  .fairness_window_units = response.fairness_window_units(),
                  .memory = {},
                  .memory_slabs_max = response.memory_slabs_max()};
  for (const v1::ModelLoad& model : response.models()) {
    load.memory.push_back({model.model(), model.version(), model.weight_slabs(), model.kv_slabs()});
  }
  for (const v1::TenantLoad& tenant : response.tenants()) {
    load.tenants.push_back(FromWire(tenant));
  }
  return load;
}

StatusOr<std::vector<WaitingChoice>> QueueClient::Explain(const std::string& request_id,
                                                          int32_t limit) {
  grpc::ClientContext context;
  context.set_deadline(SystemClock().WallNow() + timeout_);
  v1::ExplainQueueRequest request;
  request.set_request_id(request_id);
  request.set_limit(limit);
  v1::ExplainQueueResponse response;
  const grpc::Status status = stub_->service->ExplainQueue(&context, request, &response);
  if (!status.ok()) {
    return StatusFromWire(status);
  }
  std::vector<WaitingChoice> choices;
  for (const v1::QueuedRequest& waiting : response.requests()) {
    for (const v1::QueuedChoice& choice : waiting.choices()) {
      choices.push_back(FromWire(waiting, choice));
    }
  }
  return choices;
}

StatusOr<std::string> QueueClient::LoadModel(const std::string& model,
                                             const std::string& path,
                                             int64_t context_tokens_max) {
  grpc::ClientContext context;
  context.set_deadline(SystemClock().WallNow() + timeout_);
  v1::LoadModelRequest request;
  request.set_model(model);
  request.set_path(path);
  request.set_context_tokens_max(context_tokens_max);
  v1::LoadModelResponse response;
  const grpc::Status status = stub_->models->LoadModel(&context, request, &response);
  return status.ok() ? StatusOr<std::string>(response.digest()) : StatusFromWire(status);
}

Status QueueClient::UnloadModel(const std::string& model, std::optional<Duration> drain_max) {
  grpc::ClientContext context;
  context.set_deadline(SystemClock().WallNow() + timeout_);
  v1::UnloadModelRequest request;
  request.set_model(model);
  if (drain_max.has_value()) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(*drain_max);
    request.mutable_drain_max()->set_seconds(seconds.count());
    request.mutable_drain_max()->set_nanos(static_cast<int32_t>((*drain_max - seconds).count()));
  }
  v1::UnloadModelResponse response;
  return StatusFromWire(stub_->models->UnloadModel(&context, request, &response));
}

}  // namespace inferd
