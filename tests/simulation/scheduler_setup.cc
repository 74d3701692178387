#include "tests/simulation/scheduler_setup.h"

#include <absl/strings/str_format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/sha256.h"
#include "tests/simulation/fake_device.h"

namespace inferd::sim {
namespace {

constexpr int64_t kDrrQuantumUnits = 1024;
// Domains of tenants that share a cache, and of tenants alone.
constexpr uint64_t kSharedDomain = 1;
constexpr uint64_t kFirstOwnDomain = 2;

std::unique_ptr<ServicePolicy> MakePolicy(const PolicySetup& policy) {
  switch (policy.kind) {
    case PolicyKind::kFcfs:
      return MakeFcfsPolicy();
    case PolicyKind::kPriority:
      return MakeStrictPriorityPolicy();
    case PolicyKind::kDrr:
      return MakeDeficitRoundRobinPolicy(kDrrQuantumUnits);
    case PolicyKind::kVtc:
      return MakeVirtualTokenCounterPolicy();
    case PolicyKind::kFair:
      break;
  }
  return MakeWindowedPolicy(policy.theta);
}

// Interactive, standard, batch: NameOf in scenario_words.h.
std::vector<ServiceClass> MakeClasses(const Workload& workload) {
  std::vector<ServiceClass> classes(kServiceClasses);
  for (int32_t i = 0; i < kServiceClasses; ++i) {
    classes[static_cast<size_t>(i)].order = i;
    if (workload.device.queue_timeout > Duration::zero()) {
      classes[static_cast<size_t>(i)].queue_max = workload.device.queue_timeout;
    }
  }
  classes[0].first_token = std::chrono::seconds(2);
  classes[0].token_interval = std::chrono::milliseconds(200);
  classes[1].first_token = std::chrono::seconds(20);
  return classes;
}

Duration OrNever(Duration time) { return time > Duration::zero() ? time : Duration::max(); }

ModelSpec SpecOf(const DeviceSetup& device, const ModelSetup& setup) {
  ModelSpec spec;
  spec.geometry = {
      .groups = {}, .context_tokens_max = setup.context_tokens_max, .vocab_size = kVocabSize};
  for (const GroupSetup& group : setup.groups) {
    // As if a byte took a nanosecond.
    spec.geometry.groups.push_back(
        {.kind = group.kind, .window = group.window, .unit_bytes = device.copy_unit.count()});
    spec.units.push_back(group.units);
    if (device.host_percent > 0) {
      spec.host.units.push_back(HostUnits(group, device.host_percent));
      spec.host.bytes_per_s = 1'000'000'000;
    }
  }
  spec.resident = !setup.loading;
  spec.chunk_grid = device.cut_at_blocks ? kBlockTokens : 1;
  spec.costs = {.prompt_token = kPromptTokenUnits, .output_token = kOutputTokenUnits};
  spec.step_time = device.time;
  return spec;
}

}  // namespace

std::unique_ptr<Scheduler> MakeScheduler(const Workload& workload) {
  const DeviceSetup& device = workload.device;
  auto scheduler = std::make_unique<Scheduler>(
      SchedulerOptions{
          .step_tokens_max = static_cast<int32_t>(device.step_tokens_max),
          .running_max = static_cast<int32_t>(device.running_max),
          .waiting_max = static_cast<int32_t>(device.waiting_max),
          .paused_state_max = OrNever(device.paused_state_max),
          .paused_max = OrNever(device.paused_max),
          .refuses_late = device.refuses_late,
          .speculation = {.draft_tokens_max = static_cast<int32_t>(device.draft_tokens)},
          .classes = MakeClasses(workload)},
      MakePolicy(workload.policy));
  for (const ModelSetup& model : workload.models) {
    const auto slot = scheduler->AddModel(SpecOf(device, model));
    CHECK(slot.ok());
  }
  for (const TenantSetup& tenant : workload.tenants) {
    const Status status =
        scheduler->SetTenant(TenantId(tenant.name),
                             {.weight = tenant.weight,
                              .running_max = tenant.running_max,
                              .running_tokens_max = tenant.running_tokens_max,
                              .waiting_max = tenant.waiting_max,
                              .cached_blocks_guaranteed = tenant.guaranteed_blocks,
                              .reserves_all_output = tenant.strict});
    CHECK(status.ok());
  }
  return scheduler;
}

namespace {

// The engine's part of the prefix cache: a root for each trust domain and model.
std::shared_ptr<const PromptPrefix> PrefixOf(const Workload& workload,
                                             uint32_t submission,
                                             std::span<const TokenId> prompt) {
  auto prefix = std::make_shared<PromptPrefix>();
  prefix->root = Sha256Of(absl::StrFormat("simulated domain %d model %d",
                                          DomainOf(workload, submission),
                                          workload.submissions[submission].model));
  prefix->keys = ChainKeys(prefix->root, prompt);
  // Recurrent state is worth keeping where the shared part of a prompt ends.
  int64_t shared = 0;
  for (const Segment& segment : workload.submissions[submission].shared) {
    shared += segment.tokens;
    prefix->boundaries.push_back(std::min<int64_t>(shared, std::ssize(prompt)));
  }
  return prefix;
}

}  // namespace

SequenceSpec SpecOf(const Workload& workload, uint32_t submission) {
  const Submission& request = workload.submissions[submission];
  SequenceSpec spec;
  spec.model = ModelSlot(request.model);
  spec.tenant = TenantId(workload.tenants[request.tenant].name);
  spec.service_class = request.service_class;
  spec.prompt =
      std::make_shared<const std::vector<TokenId>>(PromptOf(workload, submission, kVocabSize));
  if (workload.device.prefix_cache) {
    spec.prefix = PrefixOf(workload, submission, *spec.prompt);
  }
  spec.tokens_max = request.prompt_tokens + request.output_max;
  if (workload.device.lease_tokens > 0) {
    spec.leased_output_tokens = workload.device.lease_tokens;
  }
  if (request.deadline.has_value()) {
    spec.deadline = TimePoint(request.at + *request.deadline);
  }
  return spec;
}

uint64_t DomainOf(const Workload& workload, uint32_t submission) {
  const uint32_t tenant = workload.submissions[submission].tenant;
  return workload.tenants[tenant].shared_cache ? kSharedDomain : kFirstOwnDomain + tenant;
}

EndKind EndKindOf(EndReason reason) {
  switch (reason) {
    case EndReason::kDeadline:
      return EndKind::kDeadline;
    case EndReason::kQueueTimeout:
      return EndKind::kQueueTimeout;
    case EndReason::kLease:
      return EndKind::kLease;
    case EndReason::kShed:
      return EndKind::kShed;
    case EndReason::kSlowReader:
      return EndKind::kCancelled;
  }
  return EndKind::kOpen;
}

uint64_t OutputHashAlone(const Workload& workload, uint32_t submission, bool sensitive) {
  const Submission& request = workload.submissions[submission];
  FakeModel model(request.model);
  for (const TokenId token : PromptOf(workload, submission, kVocabSize)) {
    model.Read(token);
  }
  uint64_t hash = 0;
  for (int32_t i = 0; i < request.output_tokens; ++i) {
    const TokenId token = model.Draw();
    hash = FoldToken(hash, token);
    model.Read(token, sensitive);
  }
  return hash;
}

}  // namespace inferd::sim
