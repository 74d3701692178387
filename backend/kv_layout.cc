#include "backend/kv_layout.h"

#include "base/check.h"

namespace inferd {

bool OwnsKv(const ModelConfig& config, int32_t layer) {
  const LayerConfig& it = config.layers[static_cast<size_t>(layer)];
  return it.mixer == Mixer::kAttention && it.attention.source_layer == layer;
}

KvLayout::KvLayout(const ModelConfig& config)
    : parts_(config.layers.size()), unit_values_(config.geometry.groups.size(), 0) {
  const auto n_layers = static_cast<int32_t>(config.layers.size());
  for (int32_t layer = 0; layer < n_layers; ++layer) {
    if (!OwnsKv(config, layer)) {
      continue;
    }
    const AttentionConfig& attention = config.layers[static_cast<size_t>(layer)].attention;
    CHECK(attention.state_group >= 0 && attention.state_group < num_groups());
    int64_t& end = unit_values_[static_cast<size_t>(attention.state_group)];
    const int64_t rows = int64_t{kBlockTokens} * attention.n_kv_heads;
    parts_[static_cast<size_t>(layer)] = {.group = attention.state_group,
                                          .n_kv_heads = attention.n_kv_heads,
                                          .head_dim = attention.head_dim,
                                          .head_dim_v = attention.head_dim_v,
                                          .k_offset = end,
                                          .v_offset = end + rows * attention.head_dim};
    end += rows * (attention.head_dim + attention.head_dim_v);
  }
  for (int32_t layer = 0; layer < n_layers; ++layer) {
    const LayerConfig& it = config.layers[static_cast<size_t>(layer)];
    if (it.mixer != Mixer::kAttention || OwnsKv(config, layer)) {
      continue;
    }
    const int32_t source = it.attention.source_layer;
    CHECK(source >= 0 && source < n_layers && OwnsKv(config, source));
    const KvLayerPart& part = parts_[static_cast<size_t>(source)];
    CHECK(part.group == it.attention.state_group && part.n_kv_heads == it.attention.n_kv_heads &&
          part.head_dim == it.attention.head_dim && part.head_dim_v == it.attention.head_dim_v);
    parts_[static_cast<size_t>(layer)] = part;
  }
}

const KvLayerPart& KvLayout::part(int32_t layer) const {
  CHECK(layer >= 0 && static_cast<size_t>(layer) < parts_.size());
  return parts_[static_cast<size_t>(layer)];
}

int64_t KvLayout::unit_values(int32_t group) const {
  CHECK(group >= 0 && group < num_groups());
  return unit_values_[static_cast<size_t>(group)];
}

}  // namespace inferd
