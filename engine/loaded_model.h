// LoadedModel: a resident model with what only the core thread touches: its weights and its state
// on the device.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/transformer.h"
#include "engine/engine.h"

namespace inferd::engine_internal {

// Owned by the core thread; `resident` is shared with everyone.
struct LoadedModel {
  std::shared_ptr<const ResidentModel> resident;
  std::vector<int64_t> units;  // capacity of each state group
  std::unique_ptr<Transformer> transformer;
  std::unique_ptr<DeviceState> state;
};

// Blocks of each state group so that their bytes are at most kv_bytes: as many positions as
// possible, each of which every group can hold. kResourceExhausted if that is not even one block.
StatusOr<std::vector<int64_t>> StateUnits(const Device& device,
                                          const ModelConfig& config,
                                          const EngineOptions& options);

struct LoadRequest {
  std::string name;
  Digest digest;
  ModelSlot slot;
  int64_t reserved_blocks = 0;  // of every state group: no request counts on them
};
// Packs the weights, allocates state, makes the tokenizer and the template. Nobody else uses the
// device meanwhile. kResourceExhausted if what is reserved leaves no room for requests.
StatusOr<LoadedModel> Load(Device& device,
                           const EngineOptions& options,
                           const LoadRequest& request,
                           const ModelFile& file);

}  // namespace inferd::engine_internal
