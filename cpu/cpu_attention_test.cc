// Attention against plain double-precision code, and the same bits on every instruction set, for
// every cut of the prompt, number of threads and batch, whatever the memory held before.
#include "cpu/cpu_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "base/half.h"
#include "gtest/gtest.h"

namespace inferd {
namespace {

struct Shape {
  int32_t dk = 64;
  int32_t dv = 64;
  int32_t group = 1;
  int32_t n_kv_heads = 1;
  int32_t window = 0;
  float logit_cap = 0.0f;
  int64_t length = 300;
};

// One sequence with its queries and cache, every block filled with NaN before use.
class Sequence {
 public:
  Sequence(const Shape& shape, uint32_t seed) : shape_(shape), engine_(seed) {
    const auto length = static_cast<size_t>(shape.length);
    const auto n_kv = static_cast<size_t>(shape.n_kv_heads);
    q_ = Random(length * heads() * static_cast<size_t>(shape.dk));
    k_ = Random(length * n_kv * static_cast<size_t>(shape.dk));
    v_ = Random(length * n_kv * static_cast<size_t>(shape.dv));
    const size_t blocks = (length + kKvBlock - 1) / kKvBlock;
    table_.resize(blocks);
    std::iota(table_.begin(), table_.end(), 0u);
    std::shuffle(table_.begin(), table_.end(), engine_);
    pool_.resize(blocks * UnitValues() + 16, FloatToHalf(NAN));
  }

  size_t heads() const { return static_cast<size_t>(shape_.group * shape_.n_kv_heads); }
  size_t OutFloats() const {
    return static_cast<size_t>(shape_.length) * heads() * static_cast<size_t>(shape_.dv);
  }

  void Append(const CpuKernels& kernels, int64_t position) {
    for (int32_t h = 0; h < shape_.n_kv_heads; ++h) {
      const auto row = static_cast<size_t>(position * shape_.n_kv_heads + h);
      uint16_t* keys =
          pool_.data() + table_[static_cast<size_t>(position / 64)] * UnitValues() + KeysOffset(h);
      const auto slot = static_cast<int32_t>(position % 64);
      kernels.append_key(&k_[row * static_cast<size_t>(shape_.dk)], shape_.dk, slot, keys);
      kernels.append_value(
          &v_[row * static_cast<size_t>(shape_.dv)], shape_.dv, slot, keys + ValuesFromKeys(h));
    }
  }

  void AddTiles(int64_t start, int64_t end, float* out, std::vector<AttentionTile>& tiles) const {
    const auto heads_in_row = static_cast<int64_t>(heads());
    const int32_t step = CpuAttention::TilePositions(shape_.group);
    for (int64_t at = start; at < end; at += step) {
      for (int32_t h = 0; h < shape_.n_kv_heads; ++h) {
        AttentionTile& tile = tiles.emplace_back();
        tile.q_stride = heads_in_row * shape_.dk;
        tile.out_stride = heads_in_row * shape_.dv;
        tile.q = q_.data() + at * tile.q_stride + h * shape_.group * shape_.dk;
        tile.out = out + at * tile.out_stride + h * shape_.group * shape_.dv;
        tile.positions = static_cast<int32_t>(std::min<int64_t>(step, end - at));
        tile.group = shape_.group;
        tile.start = at;
        tile.dk = shape_.dk;
        tile.dv = shape_.dv;
        tile.dv_padded = (shape_.dv + 15) / 16 * 16;
        tile.window = shape_.window;
        tile.scale = Scale();
        tile.logit_cap = shape_.logit_cap;
        tile.table = table_.data();
        tile.keys = reinterpret_cast<const uint8_t*>(pool_.data() + KeysOffset(h));
        tile.values = tile.keys + ValuesFromKeys(h) * 2;
        tile.unit_bytes = static_cast<int64_t>(UnitValues() * 2);
      }
    }
  }

  // All positions, cut as given: cuts are ends of steps.
  std::vector<float> Run(CpuIsa isa, int threads, const std::vector<int64_t>& cuts) {
    const CpuKernels& kernels = KernelsFor(isa);
    std::fill(pool_.begin(), pool_.end(), FloatToHalf(NAN));
    ThreadTeam team(threads);
    CpuAttention attention;
    std::vector<float> out(OutFloats());
    int64_t start = 0;
    for (const int64_t end : cuts) {
      for (int64_t position = start; position < end; ++position) {
        Append(kernels, position);
      }
      std::vector<AttentionTile> tiles;
      AddTiles(start, end, out.data(), tiles);
      attention.Run(kernels, team, tiles);
      start = end;
    }
    return out;
  }

  // softmax(cap(scale q·k)) · v in double at positions [begin, end), of the keys and values as f16
  // holds them.
  std::vector<double> Reference(int64_t begin, int64_t end) const {
    std::vector<double> out;
    for (int64_t p = begin; p < end; ++p) {
      for (size_t h = 0; h < heads(); ++h) {
        const int64_t first = shape_.window > 0 ? std::max<int64_t>(0, p - shape_.window + 1) : 0;
        std::vector<double> weights;
        for (int64_t j = first; j <= p; ++j) {
          weights.push_back(Score(p, h, j));
        }
        const double m = *std::max_element(weights.begin(), weights.end());
        double sum = 0;
        for (double& weight : weights) {
          weight = std::exp(weight - m);
          sum += weight;
        }
        for (int32_t d = 0; d < shape_.dv; ++d) {
          double value = 0;
          for (int64_t j = first; j <= p; ++j) {
            value +=
                weights[static_cast<size_t>(j - first)] *
                AsHalf(v_[KvRow(j, h) * static_cast<size_t>(shape_.dv) + static_cast<size_t>(d)]);
          }
          out.push_back(value / sum);
        }
      }
    }
    return out;
  }

 private:
  static double AsHalf(float value) { return static_cast<double>(HalfToFloat(FloatToHalf(value))); }
  float Scale() const { return 1.0f / std::sqrt(static_cast<float>(shape_.dk)); }
  size_t UnitValues() const {
    return static_cast<size_t>(shape_.n_kv_heads * kKvBlock * (shape_.dk + shape_.dv));
  }
  int32_t KeysOffset(int32_t head) const { return head * kKvBlock * shape_.dk; }
  int32_t ValuesFromKeys(int32_t head) const {
    return shape_.n_kv_heads * kKvBlock * shape_.dk + head * kKvBlock * shape_.dv -
           KeysOffset(head);
  }
  size_t KvRow(int64_t position, size_t head) const {
    return static_cast<size_t>(position * shape_.n_kv_heads) +
           head / static_cast<size_t>(shape_.group);
  }
  double Score(int64_t p, size_t head, int64_t j) const {
    double dot = 0;
    for (int32_t d = 0; d < shape_.dk; ++d) {
      const size_t q_row = static_cast<size_t>(p) * heads() + head;
      dot +=
          static_cast<double>(q_[q_row * static_cast<size_t>(shape_.dk) + static_cast<size_t>(d)]) *
          AsHalf(k_[KvRow(j, head) * static_cast<size_t>(shape_.dk) + static_cast<size_t>(d)]);
    }
    const double score = dot * static_cast<double>(Scale());
    const auto cap = static_cast<double>(shape_.logit_cap);
    return cap > 0 ? cap * std::tanh(score / cap) : score;
  }
  std::vector<float> Random(size_t n) {
    std::normal_distribution<float> normal(0.0f, 1.5f);
    std::vector<float> values(n);
    for (float& value : values) {
      value = normal(engine_);
    }
    return values;
  }

  Shape shape_;
  std::mt19937 engine_;
  std::vector<float> q_, k_, v_;
  std::vector<uint32_t> table_;
  std::vector<uint16_t> pool_;
};

std::vector<int64_t> CutEvery(int64_t length, int64_t step) {
  std::vector<int64_t> cuts;
  for (int64_t end = step; end < length; end += step) {
    cuts.push_back(end);
  }
  cuts.push_back(length);
  return cuts;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

const Shape kShapes[] = {
    {.dk = 64, .dv = 64, .group = 3, .n_kv_heads = 2, .length = 300},
    {.dk = 96, .dv = 96, .group = 1, .n_kv_heads = 2, .length = 270},
    {.dk = 128, .dv = 128, .group = 4, .n_kv_heads = 1, .length = 265},
    {.dk = 256, .dv = 256, .group = 4, .n_kv_heads = 1, .window = 100, .length = 190},
    {.dk = 10, .dv = 6, .group = 2, .n_kv_heads = 2, .logit_cap = 3.0f, .length = 600},
    {.dk = 64,
     .dv = 48,
     .group = 7,
     .n_kv_heads = 1,
     .window = 32,
     .logit_cap = 50.0f,
     .length = 300},
    {.dk = 16, .dv = 80, .group = 5, .n_kv_heads = 1, .window = 1, .length = 70},
    {.dk = 8, .dv = 18, .group = 50, .n_kv_heads = 1, .window = 300, .length = 580},
};

TEST(CpuAttention, MatchesDoublePrecision) {
  for (const Shape& shape : kShapes) {
    Sequence sequence(shape, 11);
    const std::vector<float> got = sequence.Run(BestIsa(), 2, {shape.length});
    const auto row = static_cast<int64_t>(got.size()) / shape.length;
    double worst = 0;
    // The start, the ends of blocks and chunks, the last tile.
    for (const int64_t begin : {int64_t{0}, int64_t{62}, int64_t{254}, shape.length - 5}) {
      const int64_t end = std::min(begin + 5, shape.length);
      const std::vector<double> want = sequence.Reference(std::min(begin, end), end);
      for (size_t i = 0; i < want.size(); ++i) {
        const float value = got[static_cast<size_t>(begin * row) + i];
        ASSERT_FALSE(std::isnan(value));
        worst = std::max(worst, std::abs(value - want[i]));
      }
    }
    EXPECT_LE(worst, 2e-5) << "dk " << shape.dk << " window " << shape.window;
  }
}

TEST(CpuAttention, EveryIsaGivesTheSameBits) {
  for (const Shape& shape : kShapes) {
    Sequence sequence(shape, 12);
    const std::vector<float> scalar = sequence.Run(CpuIsa::kScalar, 2, CutEvery(shape.length, 100));
    for (const CpuIsa isa : {CpuIsa::kAvx2, CpuIsa::kAvx512}) {
      if (IsSupported(isa)) {
        EXPECT_TRUE(SameBits(sequence.Run(isa, 1, {shape.length}), scalar))
            << Name(isa) << " dk " << shape.dk;
      }
    }
  }
}

TEST(CpuAttention, CutsAndThreadsChangeNoBit) {
  for (const Shape& shape : kShapes) {
    Sequence sequence(shape, 13);
    const std::vector<float> whole = sequence.Run(BestIsa(), 1, {shape.length});
    for (const int threads : {1, 2, 4}) {
      for (const int64_t step : {1, 7, 32, 64, 257}) {
        EXPECT_TRUE(SameBits(sequence.Run(BestIsa(), threads, CutEvery(shape.length, step)), whole))
            << "dk " << shape.dk << ", " << threads << " threads, step " << step;
      }
    }
  }
}

TEST(CpuAttention, CompanionsChangeNoBit) {
  Shape shape = kShapes[0];
  std::vector<Sequence> sequences;
  std::vector<std::vector<float>> alone;
  for (const int64_t length : {1, 63, 64, 65, 256, 257, 300, 513}) {
    shape.length = length;
    sequences.emplace_back(shape, static_cast<uint32_t>(length));
    alone.push_back(sequences.back().Run(BestIsa(), 2, CutEvery(length, 50)));
  }
  // The last position of every sequence, and the last 30 of the longest, in one step.
  ThreadTeam team(3);
  CpuAttention attention;
  std::vector<AttentionTile> tiles;
  std::vector<std::vector<float>> together;
  for (Sequence& sequence : sequences) {
    together.emplace_back(sequence.OutFloats(), 0.0f);
  }
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto row = static_cast<int64_t>(sequences[i].heads()) * shape.dv;
    const auto length = static_cast<int64_t>(together[i].size()) / row;
    sequences[i].AddTiles(
        std::max<int64_t>(0, length - (i == 7 ? 30 : 1)), length, together[i].data(), tiles);
  }
  attention.Run(KernelsFor(BestIsa()), team, tiles);
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto row = static_cast<std::ptrdiff_t>(sequences[i].heads()) * shape.dv;
    EXPECT_TRUE(std::equal(together[i].end() - row, together[i].end(), alone[i].end() - row));
  }
  const auto rows = static_cast<std::ptrdiff_t>(sequences[7].heads()) * shape.dv * 30;
  EXPECT_TRUE(std::equal(together[7].end() - rows, together[7].end(), alone[7].end() - rows));
}

}  // namespace
}  // namespace inferd
