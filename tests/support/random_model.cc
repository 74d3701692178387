#include "tests/support/random_model.h"

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "tests/support/random_vocabulary.h"

namespace inferd {
namespace {

constexpr std::array<std::string_view, 7> kFamilies = {
    "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"};

// What the tensors of a family are, beyond the ones that all have.
struct Features {
  std::string_view architecture;
  RandomVocabulary vocabulary = RandomVocabulary::kBytePairs;
  bool qkv_bias = false;
  bool out_bias = false;
  bool qk_norm = false;
  bool post_norms = false;
  bool fused = false;
  bool frequency_factors = false;
};

Features FeaturesOf(std::string_view family) {
  if (family == "llama") {
    return {.architecture = "llama", .qkv_bias = true, .out_bias = true, .frequency_factors = true};
  }
  if (family == "mistral") {
    return {.architecture = "llama", .vocabulary = RandomVocabulary::kSentencePiece};
  }
  if (family == "qwen2") {
    return {.architecture = "qwen2", .qkv_bias = true};
  }
  if (family == "qwen3") {
    return {.architecture = "qwen3", .qk_norm = true};
  }
  if (family == "gemma2") {
    return {.architecture = "gemma2",
            .vocabulary = RandomVocabulary::kSentencePiece,
            .post_norms = true};
  }
  if (family == "gemma3") {
    return {.architecture = "gemma3",
            .vocabulary = RandomVocabulary::kSentencePiece,
            .qk_norm = true,
            .post_norms = true};
  }
  CHECK(family == "phi3");
  return {.architecture = "phi3", .vocabulary = RandomVocabulary::kSentencePiece, .fused = true};
}

void SetKeys(const RandomModelSpec& spec, const Features& features, GgufWriter& writer) {
  const std::string prefix = std::string(features.architecture) + ".";
  const auto set_int = [&](std::string_view key, int32_t value) {
    writer.Set(prefix + std::string(key), static_cast<uint32_t>(value));
  };
  const auto set_float = [&](std::string_view key, float value) {
    writer.Set(prefix + std::string(key), value);
  };
  writer.Set("general.name", "random " + spec.family);
  set_int("block_count", spec.n_layers);
  set_int("context_length", spec.context);
  set_int("embedding_length", spec.d_model);
  set_int("feed_forward_length", spec.d_ff);
  set_int("attention.head_count", spec.n_heads);
  set_int("attention.head_count_kv", spec.n_kv_heads);
  set_int("attention.key_length", spec.head_dim);
  set_int("attention.value_length", spec.head_dim);
  set_int("rope.dimension_count", spec.rotary_dim);
  set_float("attention.layer_norm_rms_epsilon", 1e-5f);
  if (spec.window != 0) {
    set_int("attention.sliding_window", spec.window);
  }
  if (spec.family == "mistral") {
    set_float("rope.freq_base", 1000000.0f);
    writer.Set(prefix + "rope.scaling.type", "linear");
    set_float("rope.scaling.factor", 2.0f);
  } else if (spec.family == "gemma2") {
    // Low enough that both caps bend what random weights give.
    set_float("attn_logit_softcapping", 4.0f);
    set_float("final_logit_softcapping", 6.0f);
  } else if (spec.family == "gemma3") {
    set_float("rope.freq_base", 1000000.0f);
    writer.Set(prefix + "rope.scaling.type", "linear");
    set_float("rope.scaling.factor", 8.0f);
  } else if (spec.family == "phi3") {
    set_float("rope.freq_base", 10000.0f);
    set_int("rope.scaling.original_context_length", spec.original_context);
    set_float("rope.scaling.attn_factor", 1.19f);
  } else {
    set_float("rope.freq_base", 500000.0f);
  }
}

// Adds tensors, each from a seed of its own.
class TensorAdder {
 public:
  TensorAdder(const RandomModelSpec& spec, const Features& features, GgufWriter& writer)
      : spec_(spec), features_(features), writer_(writer), seeds_(spec.seed) {}

  void AddAll() {
    Embedding("token_embd.weight", spec_.embedding);
    Norm("output_norm.weight", spec_.d_model);
    if (!spec_.tied) {
      Embedding("output.weight", spec_.output);
    }
    if (features_.frequency_factors) {
      Factors("rope_freqs.weight", 1.0f, 8.0f);
    }
    if (features_.fused) {
      Factors("rope_factors_long.weight", 1.0f, 24.0f);
      Factors("rope_factors_short.weight", 1.0f, 1.5f);
    }
    for (int32_t i = 0; i < spec_.n_layers; ++i) {
      AddLayer("blk." + std::to_string(i) + ".");
    }
  }

 private:
  void AddLayer(const std::string& prefix) {
    const int64_t q_rows = int64_t{spec_.n_heads} * spec_.head_dim;
    const int64_t kv_rows = int64_t{spec_.n_kv_heads} * spec_.head_dim;
    Norm(prefix + "attn_norm.weight", spec_.d_model);
    if (features_.fused) {
      Matrix(prefix + "attn_qkv.weight", q_rows + 2 * kv_rows, spec_.d_model, spec_.attention);
    } else {
      Matrix(prefix + "attn_q.weight", q_rows, spec_.d_model, spec_.attention);
      Matrix(prefix + "attn_k.weight", kv_rows, spec_.d_model, spec_.attention);
      Matrix(prefix + "attn_v.weight", kv_rows, spec_.d_model, spec_.attention);
    }
    if (features_.qkv_bias) {
      Bias(prefix + "attn_q.bias", q_rows);
      Bias(prefix + "attn_k.bias", kv_rows);
      Bias(prefix + "attn_v.bias", kv_rows);
    }
    if (features_.qk_norm) {
      Norm(prefix + "attn_q_norm.weight", spec_.head_dim);
      Norm(prefix + "attn_k_norm.weight", spec_.head_dim);
    }
    Matrix(prefix + "attn_output.weight", spec_.d_model, q_rows, spec_.attention);
    if (features_.out_bias) {
      Bias(prefix + "attn_output.bias", spec_.d_model);
    }
    if (features_.post_norms) {
      Norm(prefix + "post_attention_norm.weight", spec_.d_model);
      Norm(prefix + "post_ffw_norm.weight", spec_.d_model);
    }
    Norm(prefix + "ffn_norm.weight", spec_.d_model);
    if (!features_.fused) {
      Matrix(prefix + "ffn_gate.weight", spec_.d_ff, spec_.d_model, spec_.ffn);
    }
    Matrix(prefix + "ffn_up.weight",
           features_.fused ? 2 * spec_.d_ff : spec_.d_ff,
           spec_.d_model,
           spec_.ffn);
    Matrix(prefix + "ffn_down.weight", spec_.d_model, spec_.d_ff, spec_.ffn);
  }

  // Keeps a row of unit variance at about unit variance.
  void Matrix(const std::string& name, int64_t rows, int64_t cols, QuantFormat format) {
    const float stddev = 1.0f / std::sqrt(static_cast<float>(cols));
    writer_.AddRandom(name, rows, cols, format, {.seed = seeds_.Next(), .stddev = stddev});
  }
  // Logits of tied models then have a standard deviation near 2.
  void Embedding(const std::string& name, QuantFormat format) {
    const float stddev = 2.0f / std::sqrt(static_cast<float>(spec_.d_model));
    writer_.AddRandom(
        name, spec_.vocab_size, spec_.d_model, format, {.seed = seeds_.Next(), .stddev = stddev});
  }
  void Norm(const std::string& name, int64_t cols) {
    writer_.AddRandom(
        name, 1, cols, QuantFormat::kF32, {.seed = seeds_.Next(), .stddev = 0.15f, .mean = 1.0f});
  }
  void Bias(const std::string& name, int64_t cols) {
    writer_.AddRandom(name, 1, cols, QuantFormat::kF32, {.seed = seeds_.Next(), .stddev = 0.2f});
  }
  void Factors(const std::string& name, float low, float high) {
    std::vector<float> factors(static_cast<size_t>(spec_.rotary_dim / 2));
    for (float& factor : factors) {
      factor = low + (high - low) * static_cast<float>(seeds_.Unit());
    }
    writer_.AddF32(name, 1, spec_.rotary_dim / 2, factors);
  }

  const RandomModelSpec& spec_;
  const Features& features_;
  GgufWriter& writer_;
  SplitMix64 seeds_;
};

}  // namespace

std::span<const std::string_view> RandomModelFamilies() { return kFamilies; }

RandomModelSpec TinyModel(std::string_view family, uint64_t seed, QuantFormat format) {
  const Features features = FeaturesOf(family);
  RandomModelSpec spec;
  spec.family = family;
  spec.seed = seed;
  spec.n_layers = family == "gemma3" ? 7 : features.post_norms ? 3 : 2;
  const int32_t unit = Info(format).block_values;
  if (unit == 1) {
    spec.d_model = 72;
    spec.d_ff = 136;
    spec.head_dim = 24;
  } else if (unit == 32) {
    spec.d_model = 96;
    spec.d_ff = 160;
    spec.head_dim = 32;
  } else {
    spec.d_model = 256;
    spec.d_ff = 512;
    spec.head_dim = 64;
  }
  // heads * head_dim is the model's width only where the family demands it.
  const bool square = family == "llama" || family == "qwen2" || family == "phi3";
  spec.n_heads = square ? spec.d_model / spec.head_dim : (unit == 256 ? 8 : 4);
  spec.n_kv_heads = spec.n_heads % 2 == 0 ? 2 : 1;
  spec.rotary_dim = family == "phi3" ? spec.head_dim * 3 / 4 : spec.head_dim;
  spec.vocab_size = 331;
  spec.context = 512;
  spec.window = features.post_norms || family == "phi3" ? 32 : 0;
  spec.original_context = 128;
  spec.tied = features.post_norms || family == "qwen2";
  spec.attention = spec.ffn = spec.embedding = spec.output = format;
  return spec;
}

RandomModelSpec BenchModel(uint64_t seed, QuantFormat format) {
  RandomModelSpec spec;
  spec.family = "mistral";
  spec.seed = seed;
  spec.n_layers = 22;
  spec.d_model = 2048;
  spec.d_ff = 5632;
  spec.n_heads = 32;
  spec.n_kv_heads = 4;
  spec.head_dim = 64;
  spec.rotary_dim = 64;
  spec.vocab_size = 32000;
  spec.context = 8192;
  spec.attention = spec.ffn = spec.embedding = spec.output = format;
  return spec;
}

GgufWriter RandomModel(const RandomModelSpec& spec) {
  const Features features = FeaturesOf(spec.family);
  GgufWriter writer(features.architecture);
  SetKeys(spec, features, writer);
  if (spec.vocab_size >= kRandomVocabularyMin) {
    SetVocabulary(features.vocabulary, spec.vocab_size, writer);
  }
  TensorAdder(spec, features, writer).AddAll();
  return writer;
}

Status WriteRandomModel(const RandomModelSpec& spec, const std::string& path) {
  return RandomModel(spec).WriteFile(path);
}

}  // namespace inferd
