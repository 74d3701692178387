// LoadedModel: a resident model with what only the core thread touches: its weights and its state
// on the device.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/transformer.h"
#include "engine/engine.h"
#include "engine/host_state.h"
#include "engine/slab_budget.h"
#include "scheduler/step_time_fit.h"

namespace inferd::engine_internal {

// Owned by the core thread; `resident` is shared with everyone.
struct LoadedModel {
  std::shared_ptr<const ResidentModel> resident;
  std::vector<int64_t> units;  // capacity of each state group
  std::unique_ptr<Transformer> transformer;
  std::unique_ptr<DeviceState> state;
  HostState host;             // where state of preempted choices may go
  StepTimeFit step_time_fit;  // of the steps that the core thread measured
};

// Bytes of one unit of each state group.
std::vector<int64_t> UnitBytes(const Device& device, const ModelConfig& config);

// Blocks of each state group so that their bytes are at most kv_bytes: as many positions as
// possible, each of which every group can hold. kResourceExhausted if that is not even one block.
StatusOr<std::vector<int64_t>> StateUnits(const Device& device,
                                          const ModelConfig& config,
                                          const EngineOptions& options);

// A model to load.
struct LoadRequest {
  std::string name;
  std::string version;
  Digest digest;
  ModelSlot slot;
  int64_t reserved_blocks = 0;  // of every state group: no request counts on them
};
// Everything that needs no device memory: tokenizer, template, sizes. kResourceExhausted if what is
// reserved leaves no room for requests.
StatusOr<LoadedModel> Describe(const Device& device,
                               const EngineOptions& options,
                               const LoadRequest& request,
                               const ModelFile& file);
// Bytes of the file's tensors, which packed weights take about as much room as, and of the KV.
SlabBudget::Need MemoryNeed(const Device& device, const LoadedModel& model, const ModelFile& file);
// Packs the weights and allocates the state of a described model. Nobody else uses the device
// meanwhile, but within `between`, which is called after each tensor.
Status Pack(Device& device,
            const EngineOptions& options,
            const ModelFile& file,
            const std::function<void()>& between,
            LoadedModel& model);

}  // namespace inferd::engine_internal
