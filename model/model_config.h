// ModelConfig: what a decoder model is, as data for each layer. Whatever differs between families
// is resolved here once; the forward pass never reads an architecture's name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/model_geometry.h"

namespace inferd {

enum class Mixer : uint8_t { kNone, kAttention };  // recurrent mixers come later
enum class FfnKind : uint8_t { kNone, kDense };    // mixtures of experts come later
enum class Activation : uint8_t { kSilu, kGeluTanh };

enum class RopeKind : uint8_t {
  kNone,
  kInterleaved,  // rotates the pairs (2i, 2i+1); GGUF's `llama` with permuted q and k rows
  kHalves,       // rotates the pairs (i, i + rotary_dim/2); "NEOX"
};

// angle(p, i) = p * position_scale * theta^(-2i/rotary_dim) / factors[i], i < rotary_dim/2;
// cos and sin are both multiplied by magnitude.
struct RopeConfig {
  RopeKind kind = RopeKind::kNone;
  int32_t rotary_dim = 0;  // leading values of each head that are rotated; <= head_dim, even
  float theta = 10000.0f;
  float position_scale = 1.0f;  // 1/factor of linear scaling
  std::vector<float> factors;   // rotary_dim/2 divisors of the frequencies; empty: all 1
  float magnitude = 1.0f;
  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

// Query head h reads KV head h / (n_heads / n_kv_heads). n_heads * head_dim need not be d_model.
struct AttentionConfig {
  int32_t n_heads = 0;
  int32_t n_kv_heads = 0;
  int32_t head_dim = 0;    // of q and k
  int32_t head_dim_v = 0;  // of v and of each head's output
  RopeConfig rope;
  // A query at p sees keys j with p - j < window; 0: all.
  int32_t window = 0;
  // score = cap(scale * q·k), cap(s) = logit_cap * tanh(s / logit_cap) if logit_cap > 0.
  float scale = 0.0f;
  float logit_cap = 0.0f;
  bool qk_norm = false;      // RMSNorm of each head of q and k before rope, weights [head_dim]
  int32_t source_layer = 0;  // whose KV is read; the layer itself unless KV is shared
  int32_t state_group = 0;   // index into ModelGeometry::groups
};

struct FfnConfig {
  int32_t d_ff = 0;
  Activation activation = Activation::kSilu;  // of the gate; out = down(act(gate(x)) * up(x))
};

// y = x + post(mixer(pre(x))); out = y + post(ffn(pre(y))); pre is always an RMSNorm.
struct LayerConfig {
  Mixer mixer = Mixer::kNone;
  AttentionConfig attention;  // if mixer == kAttention
  bool post_mixer_norm = false;
  FfnKind ffn = FfnKind::kNone;
  FfnConfig dense;  // if ffn == kDense
  bool post_ffn_norm = false;
};

// Invariants, checked by the loader: sizes positive and within bounds, n_heads a multiple of
// n_kv_heads, state groups and source layers in range.
struct ModelConfig {
  std::string architecture;  // for people and for the numerics id; code must not branch on it
  std::string name;          // general.name, may be empty
  int32_t d_model = 0;
  int64_t vocab_size = 0;
  int64_t context_tokens_max = 0;
  float rms_epsilon = 0.0f;
  float embedding_scale = 1.0f;  // of the embedded rows
  float logit_scale = 1.0f;
  float logit_cap = 0.0f;  // cap * tanh(logit / cap) if > 0
  bool tied_embeddings = false;
  std::vector<LayerConfig> layers;
  ModelGeometry geometry;
};

}  // namespace inferd
