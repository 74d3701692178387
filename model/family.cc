#include "model/family.h"

#include <array>

namespace inferd {
namespace {

// Norm weights of both Gemmas have their +1 folded in already: GGUF's converter did it.
constexpr std::array<Family, 6> kFamilies = {{
    // Llama, Mistral 7B, Nemo, Small 3. The converter permutes the rows of q and k, so that rope
    // turns neighbours.
    {.architecture = "llama",
     .rope = RopeKind::kInterleaved,
     .qkv_bias = Presence::kOptional,
     .attention_out_bias = Presence::kOptional,
     .attention_scale_key = true,
     .windows = WindowRule::kAllLayers,
     .frequency_factors = true},
    {.architecture = "qwen2", .qkv_bias = Presence::kRequired},
    {.architecture = "qwen3", .qk_norm = true},
    {.architecture = "gemma2",
     .activation = Activation::kGeluTanh,
     .post_norms = true,
     .scaled_embedding = true,
     .windows = WindowRule::kPattern,
     .window_period = 2,
     .window_default = 4096,
     .soft_caps = true,
     .attention_cap_default = 50.0f,
     .logit_cap_default = 30.0f,
     .width_scaled_layers = 46},
    {.architecture = "gemma3",
     .activation = Activation::kGeluTanh,
     .qk_norm = true,
     .post_norms = true,
     .scaled_embedding = true,
     .windows = WindowRule::kPattern,
     .window_period = 6,
     .local_rope = true,
     .soft_caps = true,
     .width_scaled_layers = 62},
    // Phi-3, Phi-4, Phi-4-mini. The window of Phi-3-mini-4k is honoured.
    {.architecture = "phi3", .fused = true, .windows = WindowRule::kAllLayers, .long_rope = true},
}};

}  // namespace

std::span<const Family> Families() { return kFamilies; }

const Family* FindFamily(std::string_view architecture) {
  for (const Family& family : kFamilies) {
    if (family.architecture == architecture) {
      return &family;
    }
  }
  return nullptr;
}

}  // namespace inferd
