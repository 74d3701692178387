#include "backend/transformer.h"

#include <map>
#include <optional>
#include <utility>

#include "backend/kv_layout.h"
#include "backend/numerics_id.h"
#include "base/check.h"

namespace inferd {
namespace {

// One layer's weights on the device. Absent ones are null.
struct LayerOnDevice {
  std::unique_ptr<DeviceVector> mixer_norm, q_norm, k_norm, post_mixer_norm;
  std::unique_ptr<DeviceLinear> qkv, attention_out;
  std::unique_ptr<DeviceVector> ffn_norm, post_ffn_norm;
  std::unique_ptr<DeviceLinear> gate_up, down;
};

// Packs tensors one after another, counts their bytes and lets the file's pages go.
class Packer {
 public:
  Packer(Device& device, const std::function<void(const TensorView&)>& release)
      : device_(device), release_(release) {}

  // Loads an optional vector: an absent one stays null.
  Status Vector(const TensorView& tensor, std::unique_ptr<DeviceVector>& out) {
    if (tensor.empty()) {
      return OkStatus();
    }
    ASSIGN_OR_RETURN(out, device_.LoadVector(tensor));
    bytes_ += tensor.num_values() * static_cast<int64_t>(sizeof(float));
    Release(tensor);
    return OkStatus();
  }

  // A bias for each part; absent ones are empty views, and if all are, there is none.
  Status Linear(std::vector<TensorView> parts,
                const std::vector<TensorView>& biases,
                std::optional<Activation> gate,
                std::unique_ptr<DeviceLinear>& out) {
    LinearSpec spec;
    spec.parts = std::move(parts);
    for (const TensorView& bias : biases) {
      if (!bias.empty()) {
        spec.biases = biases;
        break;
      }
    }
    spec.gated = gate.has_value();
    spec.activation = gate.value_or(Activation::kSilu);
    ASSIGN_OR_RETURN(out, device_.LoadLinear(spec));
    bytes_ += out->size_bytes();
    for (const TensorView& part : spec.parts) {
      Release(part);
    }
    for (const TensorView& bias : spec.biases) {
      Release(bias);
    }
    return OkStatus();
  }

  int64_t bytes() const { return bytes_; }

 private:
  void Release(const TensorView& tensor) const {
    if (release_ && !tensor.empty()) {
      release_(tensor);
    }
  }

  Device& device_;
  const std::function<void(const TensorView&)>& release_;
  int64_t bytes_ = 0;
};

Status LoadLayer(Packer& packer,
                 const LayerConfig& config,
                 bool owns_kv,
                 const LayerWeights& weights,
                 LayerOnDevice& layer) {
  if (config.mixer == Mixer::kAttention) {
    RETURN_IF_ERROR(packer.Vector(weights.mixer_norm, layer.mixer_norm));
    if (owns_kv) {
      RETURN_IF_ERROR(packer.Linear({weights.q, weights.k, weights.v},
                                    {weights.q_bias, weights.k_bias, weights.v_bias},
                                    std::nullopt,
                                    layer.qkv));
    } else {
      RETURN_IF_ERROR(packer.Linear({weights.q}, {weights.q_bias}, std::nullopt, layer.qkv));
    }
    if (config.attention.qk_norm) {
      RETURN_IF_ERROR(packer.Vector(weights.q_norm, layer.q_norm));
      if (owns_kv) {
        RETURN_IF_ERROR(packer.Vector(weights.k_norm, layer.k_norm));
      }
    }
    RETURN_IF_ERROR(packer.Linear(
        {weights.attention_out}, {weights.attention_out_bias}, std::nullopt, layer.attention_out));
    if (config.post_mixer_norm) {
      RETURN_IF_ERROR(packer.Vector(weights.post_mixer_norm, layer.post_mixer_norm));
    }
  }
  if (config.ffn == FfnKind::kDense) {
    RETURN_IF_ERROR(packer.Vector(weights.ffn_norm, layer.ffn_norm));
    RETURN_IF_ERROR(
        packer.Linear({weights.gate, weights.up}, {}, config.dense.activation, layer.gate_up));
    RETURN_IF_ERROR(packer.Linear({weights.down}, {}, std::nullopt, layer.down));
    if (config.post_ffn_norm) {
      RETURN_IF_ERROR(packer.Vector(weights.post_ffn_norm, layer.post_ffn_norm));
    }
  }
  return OkStatus();
}

// Activations by role and width. Layers of one width share: a layer is done before the next.
class Scratch {
 public:
  enum class Role : uint8_t { kStream, kHidden, kProjected, kMixed, kFfn };

  Status Reserve(Device& device, Role role, int32_t rows_max, int32_t cols) {
    std::unique_ptr<DeviceTensor>& tensor = tensors_[{role, cols}];
    if (tensor == nullptr) {
      ASSIGN_OR_RETURN(tensor, device.AllocateTensor(rows_max, cols));
    }
    return OkStatus();
  }
  DeviceTensor& Get(Role role, int32_t cols) const {
    const auto it = tensors_.find({role, cols});
    CHECK(it != tensors_.end());
    return *it->second;
  }

 private:
  std::map<std::pair<Role, int32_t>, std::unique_ptr<DeviceTensor>> tensors_;
};

}  // namespace

struct Transformer::Impl {
  Device& device;
  ModelConfig config;
  Options options;
  std::unique_ptr<DeviceLinear> embedding;  // the logits' weights too, if tied
  std::unique_ptr<DeviceLinear> output;     // null if tied
  std::unique_ptr<DeviceVector> output_norm;
  std::vector<LayerOnDevice> layers;
  Scratch scratch;
  std::unique_ptr<DeviceTensor> logits;
  int64_t weight_bytes = 0;
  Digest numerics_id;

  Status LoadWeights(const ModelWeights& weights,
                     const std::function<void(const TensorView&)>& release);
  Status AllocateScratch();
  void Mix(size_t index, DeviceTensor& stream, DeviceTensor& hidden, DeviceState& state);
  void Feed(size_t index, DeviceTensor& stream, DeviceTensor& hidden);
};

Status Transformer::Impl::LoadWeights(const ModelWeights& weights,
                                      const std::function<void(const TensorView&)>& release) {
  CHECK(weights.layers.size() == config.layers.size());
  Packer packer(device, release);
  RETURN_IF_ERROR(packer.Linear({weights.token_embedding}, {}, std::nullopt, embedding));
  if (!config.tied_embeddings) {
    RETURN_IF_ERROR(packer.Linear({weights.output}, {}, std::nullopt, output));
  }
  RETURN_IF_ERROR(packer.Vector(weights.output_norm, output_norm));
  layers.resize(config.layers.size());
  for (size_t i = 0; i < layers.size(); ++i) {
    RETURN_IF_ERROR(LoadLayer(packer,
                              config.layers[i],
                              OwnsKv(config, static_cast<int32_t>(i)),
                              weights.layers[i],
                              layers[i]));
  }
  weight_bytes = packer.bytes();
  return OkStatus();
}

Status Transformer::Impl::AllocateScratch() {
  const auto reserve = [&](Scratch::Role role, int32_t cols) {
    return scratch.Reserve(device, role, options.rows_max, cols);
  };
  RETURN_IF_ERROR(reserve(Scratch::Role::kStream, config.d_model));
  RETURN_IF_ERROR(reserve(Scratch::Role::kHidden, config.d_model));
  for (size_t i = 0; i < layers.size(); ++i) {
    if (config.layers[i].mixer == Mixer::kAttention) {
      RETURN_IF_ERROR(reserve(Scratch::Role::kProjected, layers[i].qkv->out_features()));
      RETURN_IF_ERROR(reserve(Scratch::Role::kMixed, layers[i].attention_out->in_features()));
    }
    if (config.layers[i].ffn == FfnKind::kDense) {
      RETURN_IF_ERROR(reserve(Scratch::Role::kFfn, layers[i].gate_up->out_features()));
    }
  }
  ASSIGN_OR_RETURN(
      logits,
      device.AllocateTensor(options.logit_rows_max, static_cast<int32_t>(config.vocab_size)));
  return OkStatus();
}

// stream += post(mixer(norm(stream)))
void Transformer::Impl::Mix(size_t index,
                            DeviceTensor& stream,
                            DeviceTensor& hidden,
                            DeviceState& state) {
  const LayerConfig& layer_config = config.layers[index];
  const LayerOnDevice& layer = layers[index];
  const auto layer_index = static_cast<int32_t>(index);
  const AttentionConfig& attention = layer_config.attention;
  DeviceTensor& qkv = scratch.Get(Scratch::Role::kProjected, layer.qkv->out_features());
  DeviceTensor& mixed = scratch.Get(Scratch::Role::kMixed, layer.attention_out->in_features());

  device.RmsNorm({.x = &stream,
                  .weight = layer.mixer_norm.get(),
                  .epsilon = config.rms_epsilon,
                  .out = &hidden});
  device.Linear({.x = &hidden, .weight = layer.qkv.get(), .out = &qkv});
  device.RopeAppendKv({.qkv = &qkv,
                       .attention = &attention,
                       .q_norm = layer.q_norm.get(),
                       .k_norm = layer.k_norm.get(),
                       .epsilon = config.rms_epsilon,
                       .layer = layer_index,
                       .state = &state});
  device.PagedAttention(
      {.qkv = &qkv, .attention = &attention, .layer = layer_index, .state = &state, .out = &mixed});
  if (!layer_config.post_mixer_norm) {
    device.Linear(
        {.x = &mixed, .weight = layer.attention_out.get(), .residual = &stream, .out = &stream});
    return;
  }
  device.Linear({.x = &mixed, .weight = layer.attention_out.get(), .out = &hidden});
  device.RmsNorm({.x = &hidden,
                  .weight = layer.post_mixer_norm.get(),
                  .epsilon = config.rms_epsilon,
                  .residual = &stream,
                  .out = &stream});
}

// stream += post(down(act(gate(norm(stream))) * up(norm(stream))))
void Transformer::Impl::Feed(size_t index, DeviceTensor& stream, DeviceTensor& hidden) {
  const LayerConfig& layer_config = config.layers[index];
  const LayerOnDevice& layer = layers[index];
  DeviceTensor& inner = scratch.Get(Scratch::Role::kFfn, layer.gate_up->out_features());

  device.RmsNorm({.x = &stream,
                  .weight = layer.ffn_norm.get(),
                  .epsilon = config.rms_epsilon,
                  .out = &hidden});
  device.Linear({.x = &hidden, .weight = layer.gate_up.get(), .out = &inner});
  if (!layer_config.post_ffn_norm) {
    device.Linear({.x = &inner, .weight = layer.down.get(), .residual = &stream, .out = &stream});
    return;
  }
  device.Linear({.x = &inner, .weight = layer.down.get(), .out = &hidden});
  device.RmsNorm({.x = &hidden,
                  .weight = layer.post_ffn_norm.get(),
                  .epsilon = config.rms_epsilon,
                  .residual = &stream,
                  .out = &stream});
}

Transformer::Transformer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Transformer::~Transformer() = default;

StatusOr<std::unique_ptr<Transformer>> Transformer::Load(Device& device,
                                                         const ModelFile& file,
                                                         const Options& options) {
  return Load(device, file.config(), file.weights(), options, [&file](const TensorView& tensor) {
    file.Release(tensor);
  });
}

StatusOr<std::unique_ptr<Transformer>> Transformer::Load(
    Device& device,
    const ModelConfig& config,
    const ModelWeights& weights,
    const Options& options,
    const std::function<void(const TensorView&)>& release) {
  if (options.rows_max < 1 || options.rows_max > device.capabilities().rows_max) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "rows_max: %d is not in [1, %d], what device %s takes in a step",
                  options.rows_max,
                  device.capabilities().rows_max,
                  device.capabilities().name);
  }
  auto impl = std::unique_ptr<Impl>(new Impl{.device = device,
                                             .config = config,
                                             .options = options,
                                             .embedding = nullptr,
                                             .output = nullptr,
                                             .output_norm = nullptr,
                                             .layers = {},
                                             .scratch = {},
                                             .logits = nullptr,
                                             .weight_bytes = 0,
                                             .numerics_id = {}});
  RETURN_IF_ERROR(impl->LoadWeights(weights, release));
  RETURN_IF_ERROR(impl->AllocateScratch());
  impl->numerics_id = NumericsId(device.capabilities().contract, config);
  return std::unique_ptr<Transformer>(new Transformer(std::move(impl)));
}

void Transformer::Forward(const ForwardBatch& batch, DeviceState& state) {
  Impl& it = *impl_;
  CHECK(batch.n_rows() > 0 && batch.n_rows() <= it.options.rows_max);
  CHECK(batch.positions.size() == batch.tokens.size());
  CHECK(batch.logit_rows.size() <= static_cast<size_t>(it.options.logit_rows_max));
  DeviceTensor& stream = it.scratch.Get(Scratch::Role::kStream, it.config.d_model);
  DeviceTensor& hidden = it.scratch.Get(Scratch::Role::kHidden, it.config.d_model);

  it.device.BeginStep(batch);
  it.device.Embed(*it.embedding, it.config.embedding_scale, stream);
  for (size_t i = 0; i < it.layers.size(); ++i) {
    if (it.config.layers[i].mixer == Mixer::kAttention) {
      it.Mix(i, stream, hidden, state);
    }
    if (it.config.layers[i].ffn == FfnKind::kDense) {
      it.Feed(i, stream, hidden);
    }
  }
  if (batch.logit_rows.empty()) {
    return;  // a step inside a prompt: its KV was all that was wanted
  }
  it.device.RmsNorm({.x = &stream,
                     .weight = it.output_norm.get(),
                     .epsilon = it.config.rms_epsilon,
                     .out = &hidden});
  it.device.Logits(hidden,
                   it.config.tied_embeddings ? *it.embedding : *it.output,
                   it.config.logit_scale,
                   it.config.logit_cap,
                   *it.logits);
}

const DeviceTensor& Transformer::logits() const { return *impl_->logits; }
const ModelConfig& Transformer::config() const { return impl_->config; }
int64_t Transformer::weight_bytes() const { return impl_->weight_bytes; }
const Digest& Transformer::numerics_id() const { return impl_->numerics_id; }

}  // namespace inferd
