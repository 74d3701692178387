// From a workload to what the Scheduler is told: the one place that knows both vocabularies.
#pragma once

#include <cstdint>
#include <memory>

#include "scheduler/scheduler.h"
#include "tests/simulation/report.h"
#include "tests/simulation/workload.h"

namespace inferd::sim {

inline constexpr int64_t kPromptTokenUnits = 1;
inline constexpr int64_t kOutputTokenUnits = 2;

// A scheduler with the workload's device, policy, models and tenants.
std::unique_ptr<Scheduler> MakeScheduler(const Workload& workload);

SequenceSpec SpecOf(const Workload& workload, uint32_t submission);

// The trust domain that a submission lives in.
uint64_t DomainOf(const Workload& workload, uint32_t submission);

EndKind EndKindOf(EndReason reason);

// The hash of a submission's whole output, computed token by token without a scheduler.
// `sensitive`: on a device whose results depend on what was decoded and what prefilled.
uint64_t OutputHashAlone(const Workload& workload, uint32_t submission, bool sensitive);

}  // namespace inferd::sim
