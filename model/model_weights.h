// ModelWeights: the tensors of a model by role. Fused tensors are already taken apart, so that
// every family offers the same roles. Owns nothing; the ModelFile outlives it.
#pragma once

#include <vector>

#include "model/tensor_view.h"

namespace inferd {

// Absent roles are empty views. All norms and biases are one row. Linear weights are [out, in].
struct LayerWeights {
  TensorView mixer_norm;              // [1, d_model]
  TensorView q, k, v;                 // [n_heads*head_dim, d], [n_kv_heads*head_dim, d], ...
  TensorView q_bias, k_bias, v_bias;  // optional
  TensorView q_norm, k_norm;          // [1, head_dim], if qk_norm
  TensorView attention_out;           // [d_model, n_heads*head_dim_v]
  TensorView attention_out_bias;      // optional
  TensorView post_mixer_norm;         // if post_mixer_norm
  TensorView ffn_norm;                // [1, d_model]
  TensorView gate, up;                // [d_ff, d_model]
  TensorView down;                    // [d_model, d_ff]
  TensorView post_ffn_norm;           // if post_ffn_norm
};

struct ModelWeights {
  TensorView token_embedding;  // [vocab, d_model]
  std::vector<LayerWeights> layers;
  TensorView output_norm;  // [1, d_model]
  TensorView output;       // [vocab, d_model]; a view of token_embedding if tied
};

}  // namespace inferd
