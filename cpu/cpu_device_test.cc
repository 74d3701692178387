// The device op by op: against the exact reference within a tolerance, the same bits on every
// instruction set and number of threads, and the edges of loading.
#include "cpu/cpu_device.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "cpu/cpu_topology.h"
#include "cpu/exact_device.h"
#include "gtest/gtest.h"

namespace inferd {
namespace {

constexpr int32_t kHeads = 4;
constexpr int32_t kKvHeads = 2;
constexpr int32_t kHeadDim = 12;
constexpr int32_t kModel = 48;
constexpr int32_t kQkv = (kHeads + 2 * kKvHeads) * kHeadDim;
constexpr int32_t kVocab = 70;

// A matrix of F32 values and the view of it.
struct Matrix {
  Matrix(int64_t rows, int64_t cols, uint32_t seed) : values(static_cast<size_t>(rows * cols)) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal(0.0f, 0.3f);
    for (float& value : values) {
      value = normal(engine);
    }
    view = {.name = "matrix",
            .format = QuantFormat::kF32,
            .rows = rows,
            .cols = cols,
            .data = std::as_bytes(std::span(values))};
  }
  std::vector<float> values;
  TensorView view;
};

// W = the matrix, no bias, no gate.
LinearSpec Plain(const Matrix& matrix) {
  LinearSpec spec;
  spec.parts = {matrix.view};
  return spec;
}

ModelConfig OneLayer(RopeKind rope) {
  ModelConfig config;
  config.d_model = kModel;
  config.vocab_size = kVocab;
  config.layers.resize(1);
  LayerConfig& layer = config.layers[0];
  layer.mixer = Mixer::kAttention;
  layer.attention.n_heads = kHeads;
  layer.attention.n_kv_heads = kKvHeads;
  layer.attention.head_dim = kHeadDim;
  layer.attention.head_dim_v = kHeadDim;
  layer.attention.rope.kind = rope;
  layer.attention.rope.rotary_dim = 8;  // partial
  layer.attention.scale = 0.3f;
  layer.attention.qk_norm = rope == RopeKind::kHalves;
  config.geometry.groups.resize(1);
  return config;
}

// Two sequences of 70 and 33 tokens with scattered blocks.
class TwoSequences {
 public:
  TwoSequences() {
    int64_t next = 5;
    for (const int32_t n : {70, 33}) {
      SequenceRows& sequence = batch.sequences.emplace_back();
      sequence.first_row = batch.n_rows();
      sequence.n_rows = n;
      for (int32_t i = 0; i < n; ++i) {
        batch.positions.push_back(i);
        batch.tokens.push_back(static_cast<TokenId>(next = (next * 37 + 11) % kVocab));
      }
    }
    batch.sequences[0].block_tables = {std::span(blocks_).first(2)};
    batch.sequences[1].block_tables = {std::span(blocks_).subspan(2, 1)};
    batch.logit_rows = {3, 69, 102};
  }
  ForwardBatch batch;

 private:
  std::vector<BlockIndex> blocks_ = {3, 0, 2};
};

// Every op once, chained; the outputs of all rows one after another.
std::vector<float> RunOps(Device& device, RopeKind rope) {
  const ModelConfig config = OneLayer(rope);
  const AttentionConfig& attention = config.layers[0].attention;
  const Matrix embedding(kVocab, kModel, 1);
  const Matrix norm(1, kModel, 2);
  const Matrix head_norm(1, kHeadDim, 3);
  const Matrix qkv_weight(kQkv, kModel, 4);
  const Matrix out_weight(kModel, kHeads * kHeadDim, 5);

  auto table = *device.LoadLinear(Plain(embedding));
  auto qkv_linear = *device.LoadLinear(Plain(qkv_weight));
  auto out_linear = *device.LoadLinear(Plain(out_weight));
  auto norm_vector = *device.LoadVector(norm.view);
  auto head_vector = *device.LoadVector(head_norm.view);
  auto stream = *device.AllocateTensor(128, kModel);
  auto hidden = *device.AllocateTensor(128, kModel);
  auto qkv = *device.AllocateTensor(128, kQkv);
  auto mixed = *device.AllocateTensor(128, kHeads * kHeadDim);
  auto logits = *device.AllocateTensor(8, kVocab);
  const std::vector<int64_t> units = {4};
  auto state = *device.AllocateState(config, units);

  const TwoSequences two;
  device.BeginStep(two.batch);
  device.Embed(*table, 1.5f, *stream);
  device.RmsNorm(
      {.x = stream.get(), .weight = norm_vector.get(), .epsilon = 1e-5f, .out = hidden.get()});
  device.Linear({.x = hidden.get(), .weight = qkv_linear.get(), .out = qkv.get()});
  device.RopeAppendKv({.qkv = qkv.get(),
                       .attention = &attention,
                       .q_norm = attention.qk_norm ? head_vector.get() : nullptr,
                       .k_norm = attention.qk_norm ? head_vector.get() : nullptr,
                       .epsilon = 1e-6f,
                       .layer = 0,
                       .state = state.get()});
  device.PagedAttention({.qkv = qkv.get(),
                         .attention = &attention,
                         .layer = 0,
                         .state = state.get(),
                         .out = mixed.get()});
  device.Linear({.x = mixed.get(),
                 .weight = out_linear.get(),
                 .residual = stream.get(),
                 .out = stream.get()});
  device.RmsNorm({.x = stream.get(),
                  .weight = norm_vector.get(),
                  .epsilon = 1e-5f,
                  .residual = stream.get(),
                  .out = hidden.get()});
  device.Logits(*hidden, *table, 0.8f, 20.0f, *logits);
  EXPECT_TRUE(device.Synchronize().ok());

  std::vector<float> all;
  const auto append = [&](const DeviceTensor& tensor, int32_t rows) {
    for (int32_t row = 0; row < rows; ++row) {
      const size_t at = all.size();
      all.resize(at + static_cast<size_t>(tensor.cols()));
      device.ReadRow(tensor, row, std::span(all).subspan(at));
    }
  };
  append(*mixed, two.batch.n_rows());
  append(*hidden, two.batch.n_rows());
  append(*logits, static_cast<int32_t>(two.batch.logit_rows.size()));
  return all;
}

std::unique_ptr<CpuDevice> Make(CpuIsa isa, int threads) {
  auto device = CpuDevice::Create({.threads = threads, .isa = isa});
  EXPECT_TRUE(device.ok()) << Message(device.status());
  return *std::move(device);
}

TEST(CpuDevice, AgreesWithTheExactReference) {
  for (const RopeKind rope : {RopeKind::kNone, RopeKind::kInterleaved, RopeKind::kHalves}) {
    const std::vector<float> want = RunOps(*MakeExactDevice(), rope);
    const std::vector<float> got = RunOps(*Make(BestIsa(), 2), rope);
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], 4e-3) << i << " rope " << static_cast<int>(rope);  // f16 KV
    }
  }
}

TEST(CpuDevice, IsaAndThreadsChangeNoBit) {
  for (const RopeKind rope : {RopeKind::kInterleaved, RopeKind::kHalves}) {
    const std::vector<float> want = RunOps(*Make(CpuIsa::kScalar, 1), rope);
    for (const CpuIsa isa : {CpuIsa::kScalar, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
      for (const int threads : {1, 2, 4}) {
        if (!IsSupported(isa)) {
          continue;
        }
        const std::vector<float> got = RunOps(*Make(isa, threads), rope);
        ASSERT_EQ(got.size(), want.size());
        EXPECT_EQ(std::memcmp(got.data(), want.data(), got.size() * sizeof(float)), 0)
            << Name(isa) << ", " << threads << " threads";
      }
    }
  }
}

TEST(CpuDevice, ConsecutiveAndScatteredLogitRowsAgree) {
  const Matrix weight(kVocab, kModel, 6);
  const auto device = Make(BestIsa(), 2);
  auto table = *device->LoadLinear(Plain(weight));
  auto x = *device->AllocateTensor(8, kModel);
  auto logits = *device->AllocateTensor(8, kVocab);
  const auto rows_of = [&](std::vector<int32_t> rows) {
    ForwardBatch batch;
    batch.tokens = {5, 9, 2, 7};
    batch.positions = {0, 1, 2, 3};
    batch.sequences.push_back({.first_row = 0, .n_rows = 4, .start = 0, .block_tables = {}});
    batch.logit_rows = std::move(rows);
    device->BeginStep(batch);
    device->Embed(*table, 1.0f, *x);
    device->Logits(*x, *table, 1.0f, 0.0f, *logits);
    std::vector<std::vector<float>> result;
    for (size_t i = 0; i < batch.logit_rows.size(); ++i) {
      result.emplace_back(kVocab);
      device->ReadRow(*logits, static_cast<int32_t>(i), result.back());
    }
    return result;
  };
  const auto all = rows_of({0, 1, 2, 3});
  EXPECT_EQ(rows_of({1, 2}), (std::vector{all[1], all[2]}));
  EXPECT_EQ(rows_of({0, 3}), (std::vector{all[0], all[3]}));
  EXPECT_TRUE(rows_of({}).empty());
}

TEST(CpuDevice, SamplesEveryRow) {
  const Matrix weight(kVocab, kModel, 7);
  const auto device = Make(BestIsa(), 3);
  auto table = *device->LoadLinear(Plain(weight));
  auto x = *device->AllocateTensor(8, kModel);
  auto logits = *device->AllocateTensor(8, kVocab);
  ForwardBatch batch;
  batch.tokens = {1, 2, 3, 4, 5};
  batch.positions = {0, 1, 2, 3, 4};
  batch.sequences.push_back({.first_row = 0, .n_rows = 5, .start = 0, .block_tables = {}});
  batch.logit_rows = {0, 1, 2, 3, 4};
  device->BeginStep(batch);
  device->Embed(*table, 1.0f, *x);
  device->Logits(*x, *table, 1.0f, 0.0f, *logits);
  SamplingParams greedy;
  greedy.temperature = 0.0f;
  std::vector<SampleRow> rows(5);
  for (int32_t i = 0; i < 5; ++i) {
    rows[static_cast<size_t>(i)].logits_row = 4 - i;
    rows[static_cast<size_t>(i)].params = &greedy;
  }
  std::vector<SampledToken> drawn(5);
  device->Sample(*logits, rows, drawn);
  for (int32_t i = 0; i < 5; ++i) {
    std::vector<float> row(kVocab);
    device->ReadRow(*logits, 4 - i, row);
    const auto best = std::max_element(row.begin(), row.end()) - row.begin();
    EXPECT_EQ(drawn[static_cast<size_t>(i)].token, static_cast<TokenId>(best));
  }
}

TEST(CpuDevice, SaysWhatItIs) {
  const auto device = Make(CpuIsa::kScalar, 2);
  EXPECT_EQ(device->capabilities().name, "cpu scalar");
  EXPECT_EQ(device->capabilities().contract, "cpu-int8g32-v1");
  EXPECT_EQ(device->threads(), 2);
  EXPECT_EQ(Make(CpuIsa::kScalar, 0)->threads(), PhysicalCoresAllowed());
  EXPECT_GE(PhysicalCoresAllowed(), 1);
  EXPECT_EQ(CpuDevice::Create({.threads = -1}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(CpuDevice::Create({.threads = 1 << 20}).status().code(), StatusCode::kInvalidArgument);
  const ModelConfig config = OneLayer(RopeKind::kHalves);
  EXPECT_EQ(device->StateUnitBytes(config, 0), 2 * kKvHeads * kHeadDim * 64 * 2);
  const std::vector<int64_t> units = {7};
  EXPECT_EQ((*device->AllocateState(config, units))->size_bytes(),
            7 * device->StateUnitBytes(config, 0));
}

}  // namespace
}  // namespace inferd
