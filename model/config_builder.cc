#include "model/config_builder.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/printable.h"
#include "model/rope_reader.h"

namespace inferd {
namespace {

// What a config may ask for at most. Tensors of these shapes must lie in the file, so these bounds
// only keep arithmetic small; 2^22 is also the most tokens that a vocabulary can have.
constexpr ConfigReader::Range kLayers = {1, 1024};
constexpr ConfigReader::Range kWidth = {1, 1 << 20};
constexpr ConfigReader::Range kHeads = {1, 4096};
constexpr ConfigReader::Range kHeadDim = {2, 1024};
constexpr ConfigReader::Range kFfn = {1, 1 << 22};
constexpr ConfigReader::Range kPositions = {1, std::numeric_limits<int32_t>::max()};
constexpr ConfigReader::Range kWindow = {0, std::numeric_limits<int32_t>::max()};
constexpr double kCapMax = 1e6;

// What the layers of a model are made from.
struct LayerFacts {
  std::vector<int32_t> n_heads, n_kv_heads, d_ff;
  std::vector<int32_t> windows;  // 0: sees everything
  std::vector<bool> local;       // has a window by its family's pattern
  int32_t head_dim = 0;
  int32_t head_dim_v = 0;
  float scale = 0.0f;
  float logit_cap = 0.0f;
  ModelRope rope;
};

// Keys whose one value that we serve is what every file of these families means.
Status RefuseOtherMechanisms(ConfigReader& config) {
  RETURN_IF_ERROR(config.ExpectInt("expert_count", 0, "a mixture of experts"));
  RETURN_IF_ERROR(config.ExpectInt("expert_used_count", 0, "a mixture of experts"));
  RETURN_IF_ERROR(config.ExpectInt("nextn_predict_layers", 0, "multi-token prediction"));
  RETURN_IF_ERROR(config.ExpectInt("pooling_type", 0, "pooling"));
  RETURN_IF_ERROR(config.ExpectBool("attention.causal", true, "attention that is not causal"));
  RETURN_IF_ERROR(config.ExpectBool("use_parallel_residual", false, "a parallel residual"));
  RETURN_IF_ERROR(config.ExpectFloat("attention.max_alibi_bias", 0.0, "ALiBi"));
  RETURN_IF_ERROR(config.ExpectFloat("attention.clamp_kqv", 0.0, "clamping of q, k and v"));
  RETURN_IF_ERROR(config.ExpectFloat("residual_scale", 1.0, "a residual scale"));
  RETURN_IF_ERROR(config.ExpectFloat("embedding_scale", 1.0, "an embedding scale by key"));
  RETURN_IF_ERROR(config.ExpectFloat("logit_scale", 1.0, "a logit scale by key"));
  config.Ignore("tensor_data_layout");            // where the converter found q and k
  config.Ignore("attention.layer_norm_epsilon");  // of LayerNorm, which none of these has
  return OkStatus();
}

// Which layers have a window by pattern: `attention.sliding_window_pattern` as a period or as a
// bool for each layer, else the family's period.
StatusOr<std::vector<bool>> ReadWindowPattern(const Family& family,
                                              int32_t n_layers,
                                              ConfigReader& config) {
  constexpr std::string_view kKey = "attention.sliding_window_pattern";
  if (config.IsArray(kKey)) {
    return config.BoolPerLayer(kKey, n_layers);
  }
  ASSIGN_OR_RETURN(const int32_t period,
                   config.IntOr(kKey, {1, kLayers.max}, family.window_period));
  std::vector<bool> local(static_cast<size_t>(n_layers));
  for (int32_t i = 0; i < n_layers; ++i) {
    local[static_cast<size_t>(i)] = i % period < period - 1;
  }
  return local;
}

// Fills `windows` and `local`. A window that the served context never leaves is no window.
Status ReadWindows(const Family& family,
                   const ModelConfig& model,
                   int32_t n_layers,
                   ConfigReader& config,
                   LayerFacts& facts) {
  constexpr std::string_view kKey = "attention.sliding_window";
  const bool pattern = family.windows == WindowRule::kPattern;
  const int32_t if_absent = pattern ? family.window_default : 0;
  ASSIGN_OR_RETURN(int32_t window, config.IntOr(kKey, kWindow, if_absent));
  if (pattern && window == 0) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "key %s: absent or 0, but this family has layers with a window",
                  Quoted(config.FullKey(kKey)));
  }
  facts.local.assign(static_cast<size_t>(n_layers), family.windows == WindowRule::kAllLayers);
  if (pattern) {
    ASSIGN_OR_RETURN(facts.local, ReadWindowPattern(family, n_layers, config));
  }
  if (window >= model.context_tokens_max) {
    window = 0;
  }
  if (window != 0 && family.windows == WindowRule::kNotServed) {
    return ErrorF(StatusCode::kUnimplemented,
                  "key %s is %d: a window in this family is not served",
                  Quoted(config.FullKey(kKey)),
                  window);
  }
  facts.windows.reserve(facts.local.size());
  for (const bool local : facts.local) {
    facts.windows.push_back(local ? window : 0);
  }
  return OkStatus();
}

StatusOr<float> ReadScoreScale(const Family& family,
                               const ModelConfig& model,
                               const LayerFacts& facts,
                               ConfigReader& config) {
  if (family.attention_scale_key) {
    ASSIGN_OR_RETURN(const float scale, config.FloatOr("attention.scale", 0.0, 1e3, 0.0f));
    if (scale > 0.0f) {
      return scale;
    }
  }
  const auto n_layers = static_cast<int32_t>(facts.n_heads.size());
  const int32_t width = n_layers == family.width_scaled_layers
                            ? model.d_model / facts.n_heads.front()
                            : facts.head_dim;
  return 1.0f / std::sqrt(static_cast<float>(width));
}

StatusOr<std::vector<int32_t>> ReadRequiredPerLayer(std::string_view key,
                                                    ConfigReader::Range range,
                                                    int32_t n_layers,
                                                    ConfigReader& config) {
  ASSIGN_OR_RETURN(auto values, config.PerLayer(key, range, n_layers));
  if (values.empty()) {
    return ErrorF(StatusCode::kInvalidArgument, "key %s is absent", Quoted(config.FullKey(key)));
  }
  return values;
}

Status ReadHeads(const ModelConfig& model,
                 int32_t n_layers,
                 ConfigReader& config,
                 LayerFacts& facts) {
  ASSIGN_OR_RETURN(facts.n_heads,
                   ReadRequiredPerLayer("attention.head_count", kHeads, n_layers, config));
  ASSIGN_OR_RETURN(facts.n_kv_heads, config.PerLayer("attention.head_count_kv", kHeads, n_layers));
  if (facts.n_kv_heads.empty()) {
    facts.n_kv_heads = facts.n_heads;
  }
  for (size_t i = 0; i < facts.n_heads.size(); ++i) {
    if (facts.n_heads[i] % facts.n_kv_heads[i] != 0) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "layer %d: %d heads are not a multiple of %d KV heads",
                    i,
                    facts.n_heads[i],
                    facts.n_kv_heads[i]);
    }
  }
  if (!config.Has("attention.key_length") && model.d_model % facts.n_heads.front() != 0) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "width %d is not a multiple of %d heads, and no key gives the head's size",
                  model.d_model,
                  facts.n_heads.front());
  }
  ASSIGN_OR_RETURN(
      facts.head_dim,
      config.IntOr("attention.key_length", kHeadDim, model.d_model / facts.n_heads.front()));
  ASSIGN_OR_RETURN(facts.head_dim_v,
                   config.IntOr("attention.value_length", kHeadDim, facts.head_dim));
  if (facts.head_dim < kHeadDim.min || facts.head_dim > kHeadDim.max) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a head of %d values; %d to %d are served",
                  facts.head_dim,
                  kHeadDim.min,
                  kHeadDim.max);
  }
  return OkStatus();
}

// Groups of layers whose state lives and dies together: the full group first, then each window.
void AssignStateGroups(ModelConfig& model) {
  std::vector<int32_t> windows;
  windows.reserve(model.layers.size());
  for (const LayerConfig& layer : model.layers) {
    windows.push_back(layer.attention.window);
  }
  std::sort(windows.begin(), windows.end());
  windows.erase(std::unique(windows.begin(), windows.end()), windows.end());
  for (const int32_t window : windows) {
    model.geometry.groups.push_back({.kind = StateKind::kBlocks, .window = window});
  }
  for (LayerConfig& layer : model.layers) {
    const auto group = std::lower_bound(windows.begin(), windows.end(), layer.attention.window);
    layer.attention.state_group = static_cast<int32_t>(group - windows.begin());
  }
}

LayerConfig MakeLayer(const Family& family, const LayerFacts& facts, int32_t index) {
  const auto i = static_cast<size_t>(index);
  LayerConfig layer;
  layer.mixer = Mixer::kAttention;
  layer.attention.n_heads = facts.n_heads[i];
  layer.attention.n_kv_heads = facts.n_kv_heads[i];
  layer.attention.head_dim = facts.head_dim;
  layer.attention.head_dim_v = facts.head_dim_v;
  layer.attention.rope = facts.local[i] ? facts.rope.local : facts.rope.global;
  layer.attention.window = facts.windows[i];
  layer.attention.scale = facts.scale;
  layer.attention.logit_cap = facts.logit_cap;
  layer.attention.qk_norm = family.qk_norm;
  layer.attention.source_layer = index;
  layer.post_mixer_norm = family.post_norms;
  layer.ffn = FfnKind::kDense;
  layer.dense.d_ff = facts.d_ff[i];
  layer.dense.activation = family.activation;
  layer.post_ffn_norm = family.post_norms;
  return layer;
}

// Reads the declared context and settles the served one.
StatusOr<int32_t> ReadContext(int64_t wanted, ConfigReader& config, ModelConfig& model) {
  ASSIGN_OR_RETURN(const int32_t declared, config.Int("context_length", kPositions));
  if (wanted < 0 || wanted > declared) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a context of %d tokens is asked for; the model's is %d",
                  wanted,
                  declared);
  }
  model.context_tokens_max = wanted == 0 ? declared : wanted;
  model.geometry.context_tokens_max = model.context_tokens_max;
  return declared;
}

}  // namespace

StatusOr<ModelConfig> ReadConfig(const Family& family,
                                 int64_t vocab_size,
                                 int64_t context_tokens_max,
                                 ConfigReader& config,
                                 WeightReader& weights) {
  ModelConfig model;
  model.architecture = std::string(family.architecture);
  model.vocab_size = vocab_size;
  model.geometry.vocab_size = vocab_size;
  RETURN_IF_ERROR(config.ExpectInt(
      "vocab_size", vocab_size, "a vocabulary of another size than its tokens or embedding"));
  RETURN_IF_ERROR(RefuseOtherMechanisms(config));
  ASSIGN_OR_RETURN(const int32_t n_layers, config.Int("block_count", kLayers));
  ASSIGN_OR_RETURN(model.d_model, config.Int("embedding_length", kWidth));
  ASSIGN_OR_RETURN(model.rms_epsilon, config.Float("attention.layer_norm_rms_epsilon", 1e-20, 1.0));
  ASSIGN_OR_RETURN(const int32_t context_declared, ReadContext(context_tokens_max, config, model));
  if (family.scaled_embedding) {
    model.embedding_scale = std::sqrt(static_cast<float>(model.d_model));
  }

  LayerFacts facts;
  RETURN_IF_ERROR(ReadHeads(model, n_layers, config, facts));
  ASSIGN_OR_RETURN(facts.d_ff, ReadRequiredPerLayer("feed_forward_length", kFfn, n_layers, config));
  RETURN_IF_ERROR(ReadWindows(family, model, n_layers, config, facts));
  ASSIGN_OR_RETURN(facts.scale, ReadScoreScale(family, model, facts, config));
  if (family.soft_caps) {
    ASSIGN_OR_RETURN(
        facts.logit_cap,
        config.FloatOr("attn_logit_softcapping", 0.0, kCapMax, family.attention_cap_default));
    ASSIGN_OR_RETURN(
        model.logit_cap,
        config.FloatOr("final_logit_softcapping", 0.0, kCapMax, family.logit_cap_default));
  }
  const RopeFacts rope_facts = {facts.head_dim, context_declared, model.context_tokens_max};
  ASSIGN_OR_RETURN(facts.rope, ReadRope(family, rope_facts, config, weights));

  model.layers.reserve(static_cast<size_t>(n_layers));
  for (int32_t i = 0; i < n_layers; ++i) {
    model.layers.push_back(MakeLayer(family, facts, i));
  }
  AssignStateGroups(model);
  RETURN_IF_ERROR(config.CheckAllUnderstood());
  return model;
}

}  // namespace inferd
