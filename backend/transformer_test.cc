// Goal: the forward pass makes the ops that a config asks for, in order, on the right operands.
// Method: a device that computes nothing and writes down every call.
#include "backend/transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "base/check.h"

namespace inferd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct FakeTensor final : DeviceTensor {
  FakeTensor(int32_t rows, int32_t width, std::string label)
      : rows_max_(rows), cols_(width), name(std::move(label)) {}
  int32_t rows_max() const override { return rows_max_; }
  int32_t cols() const override { return cols_; }
  int32_t rows_max_;
  int32_t cols_;
  std::string name;
};

struct FakeLinear final : DeviceLinear {
  int32_t in_features() const override { return in; }
  int32_t out_features() const override { return out; }
  int64_t size_bytes() const override { return 1000; }
  int32_t in = 0;
  int32_t out = 0;
  std::string name;
};

struct FakeVector final : DeviceVector {
  std::string name;
};

struct FakeState final : DeviceState {
  int64_t size_bytes() const override { return 0; }
};

class RecordingDevice final : public Device {
 public:
  const DeviceCapabilities& capabilities() const override { return capabilities_; }
  StatusOr<std::unique_ptr<DeviceLinear>> LoadLinear(const LinearSpec& spec) override {
    auto linear = std::make_unique<FakeLinear>();
    for (const TensorView& part : spec.parts) {
      if (part.name == refused) {
        return ErrorF(StatusCode::kUnimplemented, "%s: no kernel", part.name);
      }
      linear->in = static_cast<int32_t>(part.cols);
      linear->out += static_cast<int32_t>(part.rows);
      linear->name += (linear->name.empty() ? "" : "+") + part.name;
    }
    if (spec.gated) {
      linear->out /= 2;
      linear->name += spec.activation == Activation::kSilu ? " silu" : " gelu";
    }
    for (const TensorView& bias : spec.biases) {
      linear->name += " b:" + bias.name;
    }
    loaded.push_back(linear->name);
    return std::unique_ptr<DeviceLinear>(std::move(linear));
  }
  StatusOr<std::unique_ptr<DeviceVector>> LoadVector(const TensorView& vector) override {
    auto loaded_vector = std::make_unique<FakeVector>();
    loaded_vector->name = vector.name;
    loaded.push_back(vector.name);
    return std::unique_ptr<DeviceVector>(std::move(loaded_vector));
  }
  StatusOr<std::unique_ptr<DeviceTensor>> AllocateTensor(int32_t rows_max, int32_t cols) override {
    const std::string name = "t" + std::to_string(num_tensors_++);
    return std::unique_ptr<DeviceTensor>(std::make_unique<FakeTensor>(rows_max, cols, name));
  }
  int64_t StateUnitBytes(const ModelConfig&, int32_t) const override { return 0; }
  StatusOr<std::unique_ptr<DeviceState>> AllocateState(const ModelConfig&,
                                                       std::span<const int64_t>) override {
    return std::unique_ptr<DeviceState>(std::make_unique<FakeState>());
  }
  void BeginStep(const ForwardBatch& batch) override {
    calls.push_back("step " + std::to_string(batch.n_rows()));
  }
  void Embed(const DeviceLinear& table, float scale, DeviceTensor& out) override {
    calls.push_back("embed " + Of(table) + " x" + std::to_string(static_cast<int>(scale)) + " -> " +
                    Of(&out));
  }
  void RmsNorm(const RmsNormArgs& args) override {
    calls.push_back("norm " + static_cast<const FakeVector*>(args.weight)->name + " " + Of(args.x) +
                    Residual(args.residual) + " -> " + Of(args.out));
  }
  void Linear(const LinearArgs& args) override {
    CHECK(args.x->cols() == args.weight->in_features());
    CHECK(args.out->cols() == args.weight->out_features());
    calls.push_back("linear " + Of(*args.weight) + " " + Of(args.x) + Residual(args.residual) +
                    " -> " + Of(args.out));
  }
  void RopeAppendKv(const RopeAppendKvArgs& args) override {
    calls.push_back("rope " + std::to_string(args.layer) + (args.q_norm != nullptr ? " qn" : "") +
                    (args.k_norm != nullptr ? " kn" : "") + " " + Of(args.qkv));
  }
  void PagedAttention(const PagedAttentionArgs& args) override {
    calls.push_back("attend " + std::to_string(args.layer) + " " + Of(args.qkv) + " -> " +
                    Of(args.out));
  }
  void Logits(const DeviceTensor& x,
              const DeviceLinear& weight,
              float,
              float cap,
              DeviceTensor& out) override {
    calls.push_back("logits " + Of(weight) + " " + Of(&x) + " cap " +
                    std::to_string(static_cast<int>(cap)));
    CHECK(out.cols() == weight.out_features());
  }
  void Sample(const DeviceTensor&, std::span<const SampleRow>, std::span<SampledToken>) override {}
  Status Synchronize() override { return OkStatus(); }
  void ReadRow(const DeviceTensor&, int32_t, std::span<float>) const override {}

  std::vector<std::string> loaded;
  std::vector<std::string> calls;
  std::string refused;  // the name of a tensor that LoadLinear refuses

 private:
  static std::string Of(const DeviceTensor* tensor) {
    return static_cast<const FakeTensor*>(tensor)->name;
  }
  static std::string Of(const DeviceLinear& linear) {
    return static_cast<const FakeLinear&>(linear).name;
  }
  static std::string Residual(const DeviceTensor* tensor) {
    return tensor == nullptr ? "" : " + " + Of(tensor);
  }

  DeviceCapabilities capabilities_{.name = "recording", .contract = "none", .rows_max = 64};
  int num_tensors_ = 0;
};

// A view with bytes enough to be there; nothing reads them.
TensorView View(std::string name, int64_t rows, int64_t cols) {
  static const std::vector<std::byte> bytes(64);
  return {.name = std::move(name), .rows = rows, .cols = cols, .data = bytes};
}

struct Model {
  ModelConfig config;
  ModelWeights weights;
};

// d 8, 2 query heads of 6 (12 != d), 1 KV head, dv 4, ff 10.
Model MakeModel(int n_layers) {
  Model model;
  model.config.d_model = 8;
  model.config.vocab_size = 20;
  model.config.embedding_scale = 3;
  model.config.logit_cap = 30;
  model.config.geometry.groups.resize(1);
  model.weights.token_embedding = View("embd", 20, 8);
  model.weights.output = View("out", 20, 8);
  model.weights.output_norm = View("on", 1, 8);
  for (int i = 0; i < n_layers; ++i) {
    LayerConfig layer;
    layer.mixer = Mixer::kAttention;
    layer.attention.n_heads = 2;
    layer.attention.n_kv_heads = 1;
    layer.attention.head_dim = 6;
    layer.attention.head_dim_v = 4;
    layer.attention.source_layer = i;
    layer.ffn = FfnKind::kDense;
    layer.dense.d_ff = 10;
    model.config.layers.push_back(layer);
    const std::string p = std::to_string(i);
    LayerWeights weights;
    weights.mixer_norm = View("mn" + p, 1, 8);
    weights.q = View("q" + p, 12, 8);
    weights.k = View("k" + p, 6, 8);
    weights.v = View("v" + p, 4, 8);
    weights.attention_out = View("o" + p, 8, 8);
    weights.ffn_norm = View("fn" + p, 1, 8);
    weights.gate = View("g" + p, 10, 8);
    weights.up = View("u" + p, 10, 8);
    weights.down = View("d" + p, 8, 10);
    model.weights.layers.push_back(weights);
  }
  return model;
}

std::vector<std::string> CallsOf(const Model& model, std::vector<int32_t> logit_rows = {1}) {
  RecordingDevice device;
  auto transformer =
      *Transformer::Load(device, model.config, model.weights, {.rows_max = 4, .logit_rows_max = 4});
  ForwardBatch batch{.tokens = {1, 2},
                     .positions = {0, 1},
                     .sequences = {{.first_row = 0, .n_rows = 2, .start = 0, .block_tables = {}}},
                     .logit_rows = std::move(logit_rows)};
  FakeState state;
  transformer->Forward(batch, state);
  return device.calls;
}

// Scratch: t0 stream, t1 hidden, t2 projected, t3 mixed, t4 ffn.
TEST(Transformer, PlainLayer) {
  EXPECT_THAT(CallsOf(MakeModel(1)),
              ElementsAre("step 2",
                          "embed embd x3 -> t0",
                          "norm mn0 t0 -> t1",
                          "linear q0+k0+v0 t1 -> t2",
                          "rope 0 t2",
                          "attend 0 t2 -> t3",
                          "linear o0 t3 + t0 -> t0",
                          "norm fn0 t0 -> t1",
                          "linear g0+u0 silu t1 -> t4",
                          "linear d0 t4 + t0 -> t0",
                          "norm on t0 -> t1",
                          "logits out t1 cap 30"));
}

TEST(Transformer, PostNormsTakeTheResidual) {
  Model model = MakeModel(1);
  model.config.layers[0].post_mixer_norm = true;
  model.config.layers[0].post_ffn_norm = true;
  model.config.layers[0].attention.qk_norm = true;
  model.config.layers[0].dense.activation = Activation::kGeluTanh;
  LayerWeights& weights = model.weights.layers[0];
  weights.post_mixer_norm = View("pm", 1, 8);
  weights.post_ffn_norm = View("pf", 1, 8);
  weights.q_norm = View("qn", 1, 6);
  weights.k_norm = View("kn", 1, 6);
  EXPECT_THAT(CallsOf(model),
              ElementsAre("step 2",
                          "embed embd x3 -> t0",
                          "norm mn0 t0 -> t1",
                          "linear q0+k0+v0 t1 -> t2",
                          "rope 0 qn kn t2",
                          "attend 0 t2 -> t3",
                          "linear o0 t3 -> t1",
                          "norm pm t1 + t0 -> t0",
                          "norm fn0 t0 -> t1",
                          "linear g0+u0 gelu t1 -> t4",
                          "linear d0 t4 -> t1",
                          "norm pf t1 + t0 -> t0",
                          "norm on t0 -> t1",
                          "logits out t1 cap 30"));
}

TEST(Transformer, EitherHalfMayBeAbsent) {
  Model model = MakeModel(2);
  model.config.layers[0].ffn = FfnKind::kNone;
  model.config.layers[1].mixer = Mixer::kNone;
  EXPECT_THAT(CallsOf(model),
              ElementsAre("step 2",
                          "embed embd x3 -> t0",
                          "norm mn0 t0 -> t1",
                          "linear q0+k0+v0 t1 -> t2",
                          "rope 0 t2",
                          "attend 0 t2 -> t3",
                          "linear o0 t3 + t0 -> t0",
                          "norm fn1 t0 -> t1",
                          "linear g1+u1 silu t1 -> t4",
                          "linear d1 t4 + t0 -> t0",
                          "norm on t0 -> t1",
                          "logits out t1 cap 30"));
}

TEST(Transformer, ALayerThatReadsAnothersKvProjectsQueriesAlone) {
  Model model = MakeModel(2);
  model.config.layers[1].attention.source_layer = 0;
  for (int i = 0; i < 2; ++i) {
    model.config.layers[static_cast<size_t>(i)].attention.qk_norm = true;
    model.weights.layers[static_cast<size_t>(i)].q_norm = View("qn", 1, 6);
    model.weights.layers[static_cast<size_t>(i)].k_norm = View("kn", 1, 6);
  }
  const std::vector<std::string> calls = CallsOf(model);
  EXPECT_EQ(calls[4], "rope 0 qn kn t2");
  EXPECT_EQ(calls[11], "linear q1 t1 -> t5");
  EXPECT_EQ(calls[12], "rope 1 qn t5");
  EXPECT_EQ(calls[13], "attend 1 t5 -> t3");
}

TEST(Transformer, AStepInsideAPromptMakesNoLogits) {
  const std::vector<std::string> calls = CallsOf(MakeModel(1), {});
  EXPECT_EQ(calls.back(), "linear d0 t4 + t0 -> t0");
}

TEST(Transformer, TiedEmbeddingsAreLoadedOnceAndBiasesGoWithTheirParts) {
  Model model = MakeModel(1);
  model.config.tied_embeddings = true;
  model.weights.layers[0].q_bias = View("qb", 1, 12);
  RecordingDevice device;
  std::vector<std::string> released;
  auto transformer = *Transformer::Load(
      device, model.config, model.weights, {.rows_max = 4}, [&](const TensorView& tensor) {
        released.push_back(tensor.name);
      });
  EXPECT_THAT(
      device.loaded,
      ElementsAre("embd", "on", "mn0", "q0+k0+v0 b:qb b: b:", "o0", "fn0", "g0+u0 silu", "d0"));
  EXPECT_THAT(
      released,
      ElementsAre("embd", "on", "mn0", "q0", "k0", "v0", "qb", "o0", "fn0", "g0", "u0", "d0"));
  EXPECT_EQ(transformer->weight_bytes(), 5 * 1000 + 3 * 8 * 4);
}

TEST(Transformer, LoadingErrorsPassOn) {
  Model model = MakeModel(1);
  RecordingDevice device;
  device.refused = "u0";
  const auto refused = Transformer::Load(device, model.config, model.weights, {.rows_max = 4});
  EXPECT_EQ(refused.status().code(), StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(Message(refused.status())), HasSubstr("u0"));
  device.refused.clear();
  const auto wide = Transformer::Load(device, model.config, model.weights, {.rows_max = 65});
  EXPECT_EQ(wide.status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace inferd
