#include "daemon/explain_queue.h"

#include <unordered_map>
#include <vector>

#include "daemon/error_map.h"

namespace inferd {
namespace {

constexpr int32_t kRequestsDefault = 20;
constexpr int32_t kRequestsMax = 1000;

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

void Fill(const ChoiceReport& report, bool names_others, v1::QueuedChoice* out) {
  out->set_choice(report.choice);
  out->set_reason(ReasonFor(report.state));
  FillDuration(report.age, out->mutable_age());
  out->set_output_tokens(report.output_tokens);
  out->set_preemptions(report.preemptions);
  out->set_position(report.num_before);
  out->set_units_ahead(report.units_ahead);
  out->set_num_tenants_ahead(report.num_ahead);
  for (const ChoiceReport::Ahead& ahead : report.ahead) {
    if (!names_others) {
      break;
    }
    v1::TenantAhead* tenant = out->add_ahead();
    tenant->set_tenant(ahead.tenant.value());
    tenant->set_weight(ahead.weight);
    tenant->set_behind_units(ahead.behind_units);
    tenant->set_waiting(ahead.waiting);
  }
  if (report.starts_in.has_value()) {
    FillDuration(*report.starts_in, out->mutable_starts_in());
  }
  out->set_blocks_needed(report.blocks_needed);
  if (names_others) {
    out->set_blocks_available(report.blocks_available);
  }
}

}  // namespace

void FillDuration(Duration duration, google::protobuf::Duration* out) {
  constexpr int64_t kNanosPerSecond = 1'000'000'000;
  out->set_seconds(duration.count() / kNanosPerSecond);
  out->set_nanos(static_cast<int32_t>(duration.count() % kNanosPerSecond));
}

Status ExplainRequests(Engine& engine,
                       const StreamRegistry& registry,
                       const TenantId* only,
                       const v1::ExplainQueueRequest& request,
                       v1::ExplainQueueResponse* response) {
  if (request.limit() < 0 || request.limit() > kRequestsMax) {
    return MakeFieldError("limit",
                          absl::StrFormat("%d is not in [0, %d]", request.limit(), kRequestsMax));
  }
  const int32_t limit = request.limit() == 0 ? kRequestsDefault : request.limit();
  const auto calls = registry.ListSubmitted(request.request_id(), static_cast<size_t>(limit), only);
  std::vector<StreamHandle> handles;
  std::unordered_map<StreamHandle, const StreamRegistry::Submitted*> by_handle;
  for (const StreamRegistry::Submitted& call : calls) {
    handles.push_back(call.handle);
    by_handle.emplace(call.handle, &call);
  }
  for (const StreamReport& report : engine.Explain(handles)) {
    const StreamRegistry::Submitted& call = *by_handle.at(report.stream);
    v1::QueuedRequest* out = response->add_requests();
    out->set_request_id(call.request_id);
    out->set_rid(call.rid);
    out->set_tenant(call.tenant.value());
    out->set_model(call.model);
    out->set_version(call.version);
    for (const ChoiceReport& choice : report.choices) {
      Fill(choice, only == nullptr, out->add_choices());
    }
  }
  return OkStatus();
}

}  // namespace inferd
