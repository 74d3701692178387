#include "backend/numerics_id.h"

#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/sha256.h"

namespace inferd {
namespace {

// Changes whenever the Transformer itself computes something else from the same config.
constexpr std::string_view kTransformerVersion = "inferd.transformer.1";

class FieldHasher {
 public:
  void Add(std::string_view tag, std::string_view value) {
    AddLengthPrefixed(tag);
    AddLengthPrefixed(value);
  }
  void Add(std::string_view tag, int64_t value) {
    const std::array<char, 8> bytes = LittleEndian(static_cast<uint64_t>(value));
    Add(tag, std::string_view(bytes.data(), bytes.size()));
  }
  // By bits: 0.0 and -0.0 are different choices.
  void Add(std::string_view tag, float value) {
    Add(tag, static_cast<int64_t>(std::bit_cast<uint32_t>(value)));
  }
  Digest Finish() { return sha_.Finish(); }

 private:
  static std::array<char, 8> LittleEndian(uint64_t value) {
    std::array<char, 8> bytes{};
    for (char& byte : bytes) {
      byte = static_cast<char>(value & 0xffu);
      value >>= 8;
    }
    return bytes;
  }
  void AddLengthPrefixed(std::string_view text) {
    const std::array<char, 8> length = LittleEndian(text.size());
    sha_.Update(std::string_view(length.data(), length.size()));
    sha_.Update(text);
  }

  Sha256 sha_;
};

void AddAttention(FieldHasher& hasher, const AttentionConfig& attention) {
  hasher.Add("n_heads", int64_t{attention.n_heads});
  hasher.Add("n_kv_heads", int64_t{attention.n_kv_heads});
  hasher.Add("head_dim", int64_t{attention.head_dim});
  hasher.Add("head_dim_v", int64_t{attention.head_dim_v});
  hasher.Add("window", int64_t{attention.window});
  hasher.Add("scale", attention.scale);
  hasher.Add("logit_cap", attention.logit_cap);
  hasher.Add("qk_norm", int64_t{attention.qk_norm});
  hasher.Add("source_layer", int64_t{attention.source_layer});
  const RopeConfig& rope = attention.rope;
  hasher.Add("rope.kind", static_cast<int64_t>(rope.kind));
  hasher.Add("rope.rotary_dim", int64_t{rope.rotary_dim});
  hasher.Add("rope.theta", rope.theta);
  hasher.Add("rope.position_scale", rope.position_scale);
  hasher.Add("rope.magnitude", rope.magnitude);
  hasher.Add("rope.factors", static_cast<int64_t>(rope.factors.size()));
  for (const float factor : rope.factors) {
    hasher.Add("rope.factor", factor);
  }
}

}  // namespace

Digest NumericsId(std::string_view contract, const ModelConfig& config) {
  FieldHasher hasher;
  hasher.Add("transformer", kTransformerVersion);
  hasher.Add("contract", contract);
  hasher.Add("architecture", config.architecture);
  hasher.Add("d_model", int64_t{config.d_model});
  hasher.Add("vocab_size", config.vocab_size);
  hasher.Add("rms_epsilon", config.rms_epsilon);
  hasher.Add("embedding_scale", config.embedding_scale);
  hasher.Add("logit_scale", config.logit_scale);
  hasher.Add("logit_cap", config.logit_cap);
  hasher.Add("tied_embeddings", int64_t{config.tied_embeddings});
  hasher.Add("layers", static_cast<int64_t>(config.layers.size()));
  for (const LayerConfig& layer : config.layers) {
    hasher.Add("mixer", static_cast<int64_t>(layer.mixer));
    if (layer.mixer == Mixer::kAttention) {
      AddAttention(hasher, layer.attention);
    }
    hasher.Add("post_mixer_norm", int64_t{layer.post_mixer_norm});
    hasher.Add("ffn", static_cast<int64_t>(layer.ffn));
    if (layer.ffn == FfnKind::kDense) {
      hasher.Add("d_ff", int64_t{layer.dense.d_ff});
      hasher.Add("activation", static_cast<int64_t>(layer.dense.activation));
    }
    hasher.Add("post_ffn_norm", int64_t{layer.post_ffn_norm});
  }
  return hasher.Finish();
}

}  // namespace inferd
