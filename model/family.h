// Family: what the models of one GGUF architecture have in common and their metadata does not say.
// This table, and what reads it, is the only place that knows families by name.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "model/model_config.h"

namespace inferd {

enum class Presence : uint8_t { kAbsent, kOptional, kRequired };

// Which layers look back over a window only, and how far.
enum class WindowRule : uint8_t {
  kNotServed,  // a window that bites is refused
  kAllLayers,  // `attention.sliding_window`, if there is one, holds for every layer
  kPattern,    // every `window_period`-th layer sees everything, the others their window
};

// Constant facts; a model's own metadata comes first where it speaks.
struct Family {
  std::string_view architecture;  // general.architecture
  RopeKind rope = RopeKind::kHalves;
  Activation activation = Activation::kSilu;
  Presence qkv_bias = Presence::kAbsent;
  Presence attention_out_bias = Presence::kAbsent;
  bool qk_norm = false;  // attn_q_norm, attn_k_norm: RMSNorm of each head, before rope
  bool post_norms =
      false;           // post_attention_norm, post_ffw_norm: on a half's output, before the add
  bool fused = false;  // attn_qkv holds q, k, v; ffn_up holds gate, then up
  bool scaled_embedding = false;     // embedded rows times sqrt(d_model)
  bool attention_scale_key = false;  // `attention.scale`, if not 0, is the score's scale

  WindowRule windows = WindowRule::kNotServed;
  int32_t window_period = 0;   // of kPattern
  int32_t window_default = 0;  // of kPattern, where no key gives it; 0: the key is needed
  // Layers with a window rotate by theta 10000 (`rope.freq_base_swa`) and are never rope-scaled.
  bool local_rope = false;

  bool soft_caps = false;  // `attn_logit_softcapping`, `final_logit_softcapping` are honoured
  float attention_cap_default = 0.0f;
  float logit_cap_default = 0.0f;

  // Models of so many layers scale scores by 1/sqrt(d_model / n_heads), not 1/sqrt(head_dim): the
  // largest Gemma of each generation. No metadata says so.
  int32_t width_scaled_layers = 0;

  bool frequency_factors = false;  // `rope_freqs` divides the frequencies (Llama 3's scaling)
  bool long_rope = false;          // `rope_factors_long` and `rope_factors_short`
};

// All that are served.
std::span<const Family> Families();
// nullptr if not served.
const Family* FindFamily(std::string_view architecture);

}  // namespace inferd
