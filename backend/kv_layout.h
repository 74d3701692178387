// KvLayout: where each layer's keys and values lie inside one unit of its state group, in values.
// Shared by the devices: what a value is (f16, f32) and how values are ordered inside a layer's
// part is each device's own.
#pragma once

#include <cstdint>
#include <vector>

#include "model/model_config.h"

namespace inferd {

// A layer's part of a unit: n_kv_heads * kBlockTokens * head_dim keys from k_offset on, then
// n_kv_heads * kBlockTokens * head_dim_v values from v_offset on. A KV head's part is contiguous.
struct KvLayerPart {
  int32_t group = 0;
  int32_t n_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t head_dim_v = 0;
  int64_t k_offset = 0;
  int64_t v_offset = 0;
};

// A unit is kBlockTokens positions of every layer of its group, contiguous, so that moving a unit
// is one copy. Layers that read another layer's KV (AttentionConfig::source_layer) take no room.
// Immutable.
class KvLayout {
 public:
  // CHECKs what ModelConfig promises: source layers and state groups in range, a source layer that
  // owns its KV, and the heads of a layer equal to its source's.
  explicit KvLayout(const ModelConfig& config);

  // The part that layer `layer` reads: its own, or its source's. The layer has attention.
  const KvLayerPart& part(int32_t layer) const;
  int32_t num_groups() const { return static_cast<int32_t>(unit_values_.size()); }
  // Values in one unit of a group, over all its layers.
  int64_t unit_values(int32_t group) const;

 private:
  std::vector<KvLayerPart> parts_;  // by layer
  std::vector<int64_t> unit_values_;
};

// True if the layer writes KV of its own.
bool OwnsKv(const ModelConfig& config, int32_t layer);

}  // namespace inferd
