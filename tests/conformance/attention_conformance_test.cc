// Goal: rope, KV append and paged attention mean what device.h says, on every device. Method: two
// sequences of several blocks, their tables shuffled, computed over steps of uneven cuts, against a
// naive f64 attention that keeps every key and value it has seen.
#include <cmath>
#include <complex>

#include "base/half.h"
#include "tests/conformance/op_bench.h"

namespace inferd {
namespace {

struct Case {
  std::string name;
  AttentionConfig attention;
};

AttentionConfig Heads(int32_t n_heads, int32_t n_kv_heads, int32_t head_dim) {
  AttentionConfig attention;
  attention.n_heads = n_heads;
  attention.n_kv_heads = n_kv_heads;
  attention.head_dim = head_dim;
  attention.head_dim_v = head_dim;
  attention.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  attention.rope = {.kind = RopeKind::kHalves, .rotary_dim = head_dim, .factors = {}};
  return attention;
}

Case Changed(std::string name,
             AttentionConfig attention,
             const std::function<void(AttentionConfig&)>& change) {
  change(attention);
  return {std::move(name), std::move(attention)};
}

std::vector<Case> Cases() {
  using A = AttentionConfig;
  std::vector<Case> cases;
  for (int32_t share = 1; share <= 8; ++share) {
    cases.push_back({"gqa" + std::to_string(share), Heads(2 * share, 2, 32)});
  }
  for (const int32_t head_dim : {64, 96, 128, 256}) {
    cases.push_back({"dim" + std::to_string(head_dim), Heads(2, 1, head_dim)});
  }
  const A base = Heads(6, 2, 32);
  cases.push_back(Changed("interleaved", base, [](A& a) { a.rope.kind = RopeKind::kInterleaved; }));
  cases.push_back(Changed("no_rope", base, [](A& a) { a.rope = {}; }));
  cases.push_back(Changed("partial_halves", base, [](A& a) { a.rope.rotary_dim = 20; }));
  cases.push_back(Changed("partial_interleaved", base, [](A& a) {
    a.rope.kind = RopeKind::kInterleaved;
    a.rope.rotary_dim = 12;
  }));
  cases.push_back(Changed("factors_and_magnitude", base, [](A& a) {
    a.rope.theta = 500000;
    a.rope.magnitude = 1.19f;
    for (int i = 0; i < 16; ++i) {
      a.rope.factors.push_back(1.0f + 0.75f * static_cast<float>(i));
    }
  }));
  cases.push_back(Changed("linear_scaling", base, [](A& a) { a.rope.position_scale = 0.125f; }));
  for (const int32_t window : {1, 2, 32, 63, 64, 65, 100}) {
    cases.push_back(
        Changed("window" + std::to_string(window), base, [&](A& a) { a.window = window; }));
  }
  cases.push_back(Changed("cap", base, [](A& a) {
    a.scale = 1.0f;
    a.logit_cap = 5.0f;
  }));
  cases.push_back(Changed("qk_norm", base, [](A& a) { a.qk_norm = true; }));
  cases.push_back(Changed("v_narrow", base, [](A& a) { a.head_dim_v = 16; }));
  cases.push_back(Changed("v_wide", base, [](A& a) { a.head_dim_v = 48; }));
  cases.push_back(Changed("all_at_once", base, [](A& a) {
    a.rope.rotary_dim = 24;
    a.window = 70;
    a.logit_cap = 20.0f;
    a.qk_norm = true;
    a.head_dim_v = 40;
  }));
  return cases;
}

constexpr float kEpsilon = 1e-5f;

// What the formulas of device.h say, one sequence at a time.
class NaiveAttention {
 public:
  NaiveAttention(const AttentionConfig& attention,
                 std::vector<float> q_norm,
                 std::vector<float> k_norm)
      : a_(attention), q_norm_(std::move(q_norm)), k_norm_(std::move(k_norm)) {}

  // One more position of the sequence; `qkv` as the linear op made it. If `append` is false the row
  // has q alone and the keys of the position are there already.
  std::vector<float> Attend(std::span<const float> qkv, int64_t position, bool append) {
    const auto dk = static_cast<size_t>(a_.head_dim);
    const auto dv = static_cast<size_t>(a_.head_dim_v);
    const auto n_heads = static_cast<size_t>(a_.n_heads);
    const auto n_kv = static_cast<size_t>(a_.n_kv_heads);
    if (append) {
      std::vector<double> k;
      for (size_t h = 0; h < n_kv; ++h) {
        const auto head = Transformed(qkv.subspan((n_heads + h) * dk, dk), k_norm_, position);
        k.insert(k.end(), head.begin(), head.end());
      }
      keys_.push_back(k);
      const auto v = qkv.subspan((n_heads + n_kv) * dk, n_kv * dv);
      values_.emplace_back(v.begin(), v.end());
    }
    std::vector<float> out;
    for (size_t h = 0; h < n_heads; ++h) {
      const std::vector<double> q = Transformed(qkv.subspan(h * dk, dk), q_norm_, position);
      const size_t kv_head = h / (n_heads / n_kv);
      std::vector<double> mixed(dv, 0.0);
      double sum = 0;
      for (int64_t j = 0; j <= position; ++j) {
        if (a_.window > 0 && position - j >= a_.window) {
          continue;
        }
        const auto at = static_cast<size_t>(j);
        double score = 0;
        for (size_t i = 0; i < dk; ++i) {
          score += q[i] * keys_[at][kv_head * dk + i];
        }
        score *= static_cast<double>(a_.scale);
        const auto cap = static_cast<double>(a_.logit_cap);
        score = cap > 0 ? cap * std::tanh(score / cap) : score;
        const double weight = std::exp(score);
        sum += weight;
        for (size_t i = 0; i < dv; ++i) {
          mixed[i] += weight * values_[at][kv_head * dv + i];
        }
      }
      for (const double value : mixed) {
        out.push_back(static_cast<float>(value / sum));
      }
    }
    return out;
  }

  // The same keys and values, read by another attention.
  NaiveAttention Under(const AttentionConfig& attention) const {
    NaiveAttention other = *this;
    other.a_ = attention;
    return other;
  }

 private:
  std::vector<double> Transformed(std::span<const float> head,
                                  const std::vector<float>& norm,
                                  int64_t position) const {
    std::vector<double> x(head.begin(), head.end());
    if (a_.qk_norm) {
      double squares = 0;
      for (const double value : x) {
        squares += value * value;
      }
      const double rms =
          std::sqrt(squares / static_cast<double>(x.size()) + static_cast<double>(kEpsilon));
      for (size_t i = 0; i < x.size(); ++i) {
        x[i] = x[i] / rms * static_cast<double>(norm[i]);
      }
    }
    const RopeConfig& rope = a_.rope;
    const size_t pairs =
        rope.kind == RopeKind::kNone ? 0 : static_cast<size_t>(rope.rotary_dim) / 2;
    for (size_t i = 0; i < pairs; ++i) {
      const size_t first = rope.kind == RopeKind::kHalves ? i : 2 * i;
      const size_t second = rope.kind == RopeKind::kHalves ? i + pairs : 2 * i + 1;
      double angle = static_cast<double>(position) * static_cast<double>(rope.position_scale) *
                     std::pow(static_cast<double>(rope.theta),
                              -static_cast<double>(i) / static_cast<double>(pairs));
      if (!rope.factors.empty()) {
        angle /= static_cast<double>(rope.factors[i]);
      }
      const std::complex<double> turned = std::complex<double>(x[first], x[second]) *
                                          std::polar(static_cast<double>(rope.magnitude), angle);
      x[first] = turned.real();
      x[second] = turned.imag();
    }
    return x;
  }

  AttentionConfig a_;
  std::vector<float> q_norm_, k_norm_;
  std::vector<std::vector<double>> keys_, values_;
};

struct Sequence {
  std::vector<BlockIndex> table;
  int64_t done = 0;
};

// Rows of each sequence in each step.
const std::vector<std::vector<int32_t>> kSteps = {
    {1, 0}, {63, 5}, {2, 59}, {62, 1}, {1, 1}, {22, 64}, {0, 3}, {1, 1}};

class AttentionConformance : public DeviceTest {
 protected:
  // Runs a case over both sequences; `make` draws the rows of each step.
  void Check(const Case& test,
             const std::function<Matrix(int32_t rows, int32_t cols, uint64_t seed)>& make,
             double error_max) {
    SCOPED_TRACE(test.name);
    const AttentionConfig& attention = test.attention;
    const ModelConfig config = Config({attention});
    const Matrix q_norm = RandomMatrix(1, attention.head_dim, 1);
    const Matrix k_norm = RandomMatrix(1, attention.head_dim, 2);
    OpBench bench(device());
    const auto q_weight = bench.Load(q_norm.values);
    const auto k_weight = bench.Load(k_norm.values);
    auto state = device().AllocateState(config, std::vector<int64_t>{9});
    ASSERT_TRUE(state.ok());
    std::vector<Sequence> sequences = {{{7, 2, 8}}, {{0, 5, 3}}};
    std::vector<NaiveAttention> naive(2, {attention, q_norm.values, k_norm.values});
    const int32_t width = (attention.n_heads + attention.n_kv_heads) * attention.head_dim +
                          attention.n_kv_heads * attention.head_dim_v;
    uint64_t seed = 3;
    for (const std::vector<int32_t>& rows : kSteps) {
      const ForwardBatch batch = Batch(sequences, rows);
      const Matrix qkv = make(batch.n_rows(), width, seed++);
      Matrix expected(batch.n_rows(), attention.n_heads * attention.head_dim_v);
      int32_t row = 0;
      for (size_t s = 0; s < sequences.size(); ++s) {
        for (int32_t i = 0; i < rows[s]; ++i, ++row) {
          const auto out = naive[s].Attend(
              std::span(qkv.values)
                  .subspan(static_cast<size_t>(row * width), static_cast<size_t>(width)),
              sequences[s].done + i,
              true);
          std::copy(out.begin(), out.end(), &expected.at(row, 0));
        }
        sequences[s].done += rows[s];
      }
      bench.BeginStep(batch);
      const auto fed = bench.Feed(qkv);
      const auto out = bench.Empty(expected.cols);
      device().RopeAppendKv({.qkv = fed.get(),
                             .attention = &config.layers[0].attention,
                             .q_norm = attention.qk_norm ? q_weight.get() : nullptr,
                             .k_norm = attention.qk_norm ? k_weight.get() : nullptr,
                             .epsilon = kEpsilon,
                             .layer = 0,
                             .state = state->get()});
      device().PagedAttention({.qkv = fed.get(),
                               .attention = &config.layers[0].attention,
                               .layer = 0,
                               .state = state->get(),
                               .out = out.get()});
      EXPECT_LE(RelativeError(expected, bench.Read(*out, batch.n_rows())), error_max);
    }
  }

  // A model of the given attention layers, all of one state group.
  static ModelConfig Config(std::vector<AttentionConfig> attentions) {
    ModelConfig config;
    config.d_model = 8;
    config.geometry.groups.resize(1);
    config.geometry.groups[0].window = attentions[0].window;
    for (size_t i = 0; i < attentions.size(); ++i) {
      LayerConfig layer;
      layer.mixer = Mixer::kAttention;
      layer.attention = attentions[i];
      config.layers.push_back(layer);
    }
    return config;
  }

  static ForwardBatch Batch(std::span<const Sequence> sequences, std::span<const int32_t> rows) {
    ForwardBatch batch;
    for (size_t s = 0; s < sequences.size(); ++s) {
      if (rows[s] == 0) {
        continue;
      }
      batch.sequences.push_back({.first_row = batch.n_rows(),
                                 .n_rows = rows[s],
                                 .start = sequences[s].done,
                                 .block_tables = {sequences[s].table}});
      for (int32_t i = 0; i < rows[s]; ++i) {
        batch.tokens.push_back(0);
        batch.positions.push_back(sequences[s].done + i);
      }
    }
    return batch;
  }
};

TEST_P(AttentionConformance, EveryKindOverShuffledBlocks) {
  for (const Case& test : Cases()) {
    Check(test, RandomMatrix, limits().attention);
  }
}

// Without rope and norms the keys are the rows' own, and f16 may hold them without loss.
TEST_P(AttentionConformance, LosesNothingBesideTheFormatOfItsKv) {
  const auto halves = [](int32_t rows, int32_t cols, uint64_t seed) {
    Matrix matrix = RandomMatrix(rows, cols, seed);
    for (float& value : matrix.values) {
      value = HalfToFloat(FloatToHalf(value));
    }
    return matrix;
  };
  for (Case test : Cases()) {
    test.attention.rope = {};
    test.attention.qk_norm = false;
    Check(test, halves, limits().attention_held);
  }
}

// Layer 2 has queries alone and reads the keys and values of layer 0, not those of layer 1.
TEST_P(AttentionConformance, ALayerMayReadAnothersKv) {
  AttentionConfig own = Heads(4, 2, 32);
  own.qk_norm = true;
  AttentionConfig other = own;
  other.source_layer = 1;
  AttentionConfig shared = own;
  shared.window = 40;
  const ModelConfig config = Config({own, other, shared});
  const Matrix norm = RandomMatrix(1, 32, 4);
  OpBench bench(device());
  const auto weight = bench.Load(norm.values);
  auto state = device().AllocateState(config, std::vector<int64_t>{3});
  ASSERT_TRUE(state.ok());
  std::vector<Sequence> sequences = {{{2, 0}}};
  NaiveAttention naive_own(own, norm.values, norm.values);
  NaiveAttention naive_other(other, norm.values, norm.values);
  uint64_t seed = 5;
  for (const int32_t rows : {70, 1, 12}) {
    const ForwardBatch batch = Batch(sequences, std::span(&rows, 1));
    bench.BeginStep(batch);
    for (int32_t layer = 0; layer < 3; ++layer) {
      const AttentionConfig& attention = config.layers[static_cast<size_t>(layer)].attention;
      const bool owns = layer != 2;
      const Matrix qkv = RandomMatrix(rows, owns ? 4 * 32 + 2 * 64 : 4 * 32, seed++);
      NaiveAttention reader = naive_own;
      if (layer == 2) {
        // The keys that layer 0 has appended by now, under layer 2's window.
        reader = naive_own.Under(shared);
      }
      Matrix expected(rows, 4 * 32);
      for (int32_t i = 0; i < rows; ++i) {
        NaiveAttention& source = layer == 0 ? naive_own : layer == 1 ? naive_other : reader;
        const auto width = static_cast<size_t>(qkv.cols);
        const auto out =
            source.Attend(std::span(qkv.values).subspan(static_cast<size_t>(i) * width, width),
                          sequences[0].done + i,
                          owns);
        std::copy(out.begin(), out.end(), &expected.at(i, 0));
      }
      const auto fed = bench.Feed(qkv);
      const auto out = bench.Empty(4 * 32);
      device().RopeAppendKv({.qkv = fed.get(),
                             .attention = &attention,
                             .q_norm = weight.get(),
                             .k_norm = owns ? weight.get() : nullptr,
                             .epsilon = kEpsilon,
                             .layer = layer,
                             .state = state->get()});
      device().PagedAttention({.qkv = fed.get(),
                               .attention = &attention,
                               .layer = layer,
                               .state = state->get(),
                               .out = out.get()});
      EXPECT_LE(RelativeError(expected, bench.Read(*out, rows)), limits().attention)
          << "layer " << layer;
    }
    sequences[0].done += rows;
  }
}

INSTANTIATE_TEST_SUITE_P(Devices,
                         AttentionConformance,
                         ::testing::ValuesIn(ConformanceDeviceNames()),
                         DeviceTestName);

}  // namespace
}  // namespace inferd
