// Paged attention over a Lanes type (lanes_*.h): scores, softmax and values of one chunk of 256
// positions for a tile of query rows, and the merge of chunks. The arithmetic: docs/design/0002.
//
// Both products are the same register-tiled matrix product: C[r][j] = fma chain over i of
// A[r][i] * B[i][j], i ascending. For scores A is the queries and B a block of keys, stored with
// tokens in the lanes; for values A is the probabilities and B the rows of V. How rows and columns
// are tiled, and whether B is widened from f16 in place or beforehand, changes no bit.
#pragma once

#include <cstdint>

#include "cpu/cpu_kernels.h"
#include "cpu/row_kernels.h"
#include "cpu/vector_math_kernels.h"

namespace inferd {
namespace {

constexpr int kRowTile = 6;
// Tiles with more rows widen a block once to f32 and read that; fewer widen as they go.
constexpr int32_t kDirectRows = kRowTile;

template <typename F>
inline F LoadWide(const float* p) {
  return F::Load(p);
}
template <typename F>
inline F LoadWide(const uint16_t* p) {
  return F::LoadHalf(p);
}

struct Product {
  const float* a;  // [rows, depth], rows a_stride apart
  int64_t a_stride;
  int64_t b_stride;  // of B, [depth, columns]
  float* c;          // [rows, columns], rows c_stride apart
  int64_t c_stride;
  int32_t depth;
  bool accumulate;  // continue the chains that C holds
};

template <typename F, int kRows, int kVectors, typename B>
inline void ProductTile(const Product& p, int32_t row, int32_t column, const B* b) {
  F sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = p.accumulate ? F::Load(p.c + (row + r) * p.c_stride + column + v * F::kWidth)
                                : F::Set1(0.0f);
    }
  }
  const float* a = p.a + row * p.a_stride;
  const B* b_row = b + column;
  for (int32_t i = 0; i < p.depth; ++i) {
    F wide[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      wide[v] = LoadWide<F>(b_row + v * F::kWidth);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const F value = F::Set1(a[r * p.a_stride + i]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = F::Fma(value, wide[v], sums[r][v]);
      }
    }
    b_row += p.b_stride;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v].Store(p.c + (row + r) * p.c_stride + column + v * F::kWidth);
    }
  }
}

template <typename F>
constexpr int VectorsFor(int rows) {
  return F::kRegisters >= 4 * rows ? 4 : F::kRegisters >= 2 * rows ? 2 : 1;
}

// kRows rows, columns [begin, end) in multiples of the width.
template <typename F, int kRows, typename B>
inline void ProductRows(const Product& p, int32_t row, int32_t begin, int32_t end, const B* b) {
  constexpr int kVectors = VectorsFor<F>(kRows);
  int32_t column = begin;
  for (; column + kVectors * F::kWidth <= end; column += kVectors * F::kWidth) {
    ProductTile<F, kRows, kVectors>(p, row, column, b);
  }
  for (; column < end; column += F::kWidth) {
    ProductTile<F, kRows, 1>(p, row, column, b);
  }
}

template <typename F, typename B>
inline void MultiplyRows(const Product& p, int32_t rows, int32_t begin, int32_t end, const B* b) {
  // Tiles as equal as can be: 8 rows are 4 and 4, since a tile of 2 would wait for B.
  int32_t row = 0;
  for (int32_t tiles = (rows + kRowTile - 1) / kRowTile; tiles > 0; --tiles) {
    const int32_t taken = (rows - row) / tiles;
    switch (taken) {
      case 1:
        ProductRows<F, 1>(p, row, begin, end, b);
        break;
      case 2:
        ProductRows<F, 2>(p, row, begin, end, b);
        break;
      case 3:
        ProductRows<F, 3>(p, row, begin, end, b);
        break;
      case 4:
        ProductRows<F, 4>(p, row, begin, end, b);
        break;
      case 5:
        ProductRows<F, 5>(p, row, begin, end, b);
        break;
      default:
        ProductRows<F, kRowTile>(p, row, begin, end, b);
        break;
    }
    row += taken;
  }
}

// count is a multiple of the width.
template <typename F>
inline void Widen(const uint16_t* halves, int32_t count, float* out) {
  for (int32_t i = 0; i < count; i += F::kWidth) {
    F::LoadHalf(halves + i).Store(out + i);
  }
}

struct Range {
  int32_t begin;
  int32_t end;
  bool empty() const { return begin >= end; }
};

// The positions of a chunk that a query at `position` sees, from the chunk's start.
inline Range Visible(const AttentionTile& tile, int64_t position, int64_t chunk_start) {
  const int64_t first = tile.window > 0 ? position - tile.window + 1 : 0;
  const int64_t begin = first - chunk_start;
  const int64_t end = position + 1 - chunk_start;
  return {static_cast<int32_t>(begin < 0                 ? 0
                               : begin > kAttentionChunk ? kAttentionChunk
                                                         : begin),
          static_cast<int32_t>(end < 0                 ? 0
                               : end > kAttentionChunk ? kAttentionChunk
                                                       : end)};
}

// Scores to probabilities, in place. Lanes outside `seen` but inside `tile_seen` become 0.
// Returns m; l is the sum of the probabilities.
template <typename F>
inline float SoftmaxRow(
    const AttentionTile& tile, Range seen, Range tile_seen, float* scores, float* sum) {
  static constexpr float kLane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const F lane = F::Load(kLane);
  const F lowest = F::Set1(-__builtin_inff());
  const int32_t begin = seen.begin / F::kWidth * F::kWidth;
  for (int32_t i = tile_seen.begin / F::kWidth * F::kWidth; i < begin; i += F::kWidth) {
    F::Set1(0.0f).Store(scores + i);
  }
  F highest = lowest;
  int32_t i = begin;
  for (; i < seen.end; i += F::kWidth) {
    F score = F::Load(scores + i);
    if (tile.logit_cap > 0.0f) {
      score = SoftCap(score, F::Set1(tile.logit_cap), F::Set1(1.0f / tile.logit_cap));
    }
    if (i < seen.begin || i + F::kWidth > seen.end) {
      score = F::SelectLess(lane, F::Set1(static_cast<float>(seen.begin - i)), lowest, score);
      score = F::SelectLess(lane, F::Set1(static_cast<float>(seen.end - i)), score, lowest);
    }
    score.Store(scores + i);
    highest = F::Max(score, highest);
  }
  for (; i < tile_seen.end; i += F::kWidth) {
    F::Set1(0.0f).Store(scores + i);
  }
  const float m = F::ReduceMax(highest);
  F total = F::Set1(0.0f);
  for (i = begin; i < seen.end; i += F::kWidth) {
    const F probability = Exp(F::Sub(F::Load(scores + i), F::Set1(m)));
    probability.Store(scores + i);
    total = F::Add(total, probability);
  }
  *sum = F::ReduceAdd(total);
  return m;
}

template <typename F>
void AttendPrepare(const AttentionTile& tile, const AttentionScratch& scratch) {
  const F scale = F::Set1(tile.scale);
  for (int32_t r = 0; r < tile.rows(); ++r) {
    const float* q =
        tile.q + r / tile.group * tile.q_stride + static_cast<int64_t>(r % tile.group) * tile.dk;
    float* out = scratch.q + static_cast<int64_t>(r) * tile.dk;
    for (int32_t i = 0; i < tile.dk; i += F::kWidth) {
      StoreUpTo(F::Mul(LoadUpTo<F>(q + i, tile.dk - i), scale), out + i, tile.dk - i);
    }
  }
}

inline const uint16_t* BlockKeys(const AttentionTile& tile, int64_t block) {
  return reinterpret_cast<const uint16_t*>(tile.keys + tile.table[block] * tile.unit_bytes);
}
inline const uint16_t* BlockValues(const AttentionTile& tile, int64_t block) {
  return reinterpret_cast<const uint16_t*>(tile.values + tile.table[block] * tile.unit_bytes);
}

// Scores of the chunk's positions in `seen` (whole vectors of them) for every row.
template <typename F>
inline void ChunkScores(const AttentionTile& tile,
                        const AttentionScratch& scratch,
                        int64_t chunk_start,
                        Range seen) {
  for (int32_t at = seen.begin / kKvBlock * kKvBlock; at < seen.end; at += kKvBlock) {
    const uint16_t* keys = BlockKeys(tile, (chunk_start + at) / kKvBlock);
    const int32_t begin = (seen.begin > at ? seen.begin - at : 0) / F::kWidth * F::kWidth;
    const int32_t last = seen.end - at < kKvBlock ? seen.end - at : kKvBlock;
    const int32_t end = (last + F::kWidth - 1) / F::kWidth * F::kWidth;
    const Product product{scratch.q,
                          tile.dk,
                          kKvBlock,
                          scratch.scores + at,
                          kAttentionChunk,
                          tile.dk,
                          /*accumulate=*/false};
    if (tile.rows() <= kDirectRows) {
      MultiplyRows<F>(product, tile.rows(), begin, end, keys);
    } else {
      Widen<F>(keys, tile.dk * kKvBlock, scratch.keys);
      MultiplyRows<F>(product, tile.rows(), begin, end, scratch.keys);
    }
  }
}

// o = probabilities of the positions in `seen`, and no others, times their values. Columns beyond
// dv hold what follows in the cache; no lane of them reaches a result.
template <typename F>
inline void ChunkValues(const AttentionTile& tile,
                        const AttentionScratch& scratch,
                        int64_t chunk_start,
                        Range seen,
                        float* o) {
  bool accumulate = false;
  for (int32_t at = seen.begin; at < seen.end;) {
    const int32_t slot = at % kKvBlock;
    const int32_t left = seen.end - at;
    const int32_t count = left < kKvBlock - slot ? left : kKvBlock - slot;
    const uint16_t* values =
        BlockValues(tile, (chunk_start + at) / kKvBlock) + static_cast<int64_t>(slot) * tile.dv;
    Product product{
        scratch.scores + at, kAttentionChunk, tile.dv, o, tile.dv_padded, count, accumulate};
    if (tile.rows() <= kDirectRows) {
      MultiplyRows<F>(product, tile.rows(), 0, tile.dv_padded, values);
    } else {
      for (int32_t i = 0; i < count; ++i) {
        Widen<F>(values + static_cast<int64_t>(i) * tile.dv,
                 tile.dv_padded,
                 scratch.values + static_cast<int64_t>(i) * tile.dv_padded);
      }
      product.b_stride = tile.dv_padded;
      MultiplyRows<F>(product, tile.rows(), 0, tile.dv_padded, scratch.values);
    }
    accumulate = true;
    at += count;
  }
}

template <typename F>
void AttendChunk(const AttentionTile& tile,
                 const AttentionScratch& scratch,
                 int64_t chunk,
                 float* partial) {
  const int32_t rows = tile.rows();
  float* m = partial;
  float* l = partial + rows;
  const int64_t chunk_start = chunk * kAttentionChunk;
  // Beyond what some row sees lies memory that may hold another sequence's leftovers.
  const Range seen{Visible(tile, tile.start, chunk_start).begin,
                   Visible(tile, tile.start + tile.positions - 1, chunk_start).end};
  if (!seen.empty()) {
    ChunkScores<F>(tile, scratch, chunk_start, seen);
  }
  for (int32_t r = 0; r < rows; ++r) {
    const Range row_seen = Visible(tile, tile.start + r / tile.group, chunk_start);
    float* scores = scratch.scores + static_cast<int64_t>(r) * kAttentionChunk;
    if (row_seen.empty()) {
      for (int32_t i = seen.begin; i < seen.end; ++i) {
        scores[i] = 0.0f;
      }
      m[r] = 0.0f;
      l[r] = 0.0f;
    } else {
      m[r] = SoftmaxRow<F>(tile, row_seen, seen, scores, &l[r]);
    }
  }
  if (!seen.empty()) {
    ChunkValues<F>(tile, scratch, chunk_start, seen, partial + 2 * static_cast<int64_t>(rows));
  }
}

template <typename F>
void AttendMerge(const AttentionTile& tile, const float* partial, float* running) {
  const int32_t rows = tile.rows();
  for (int32_t r = 0; r < rows; ++r) {
    const float next_m = partial[r];
    const float next_l = partial[rows + r];
    const float* next_o =
        partial + 2 * static_cast<int64_t>(rows) + static_cast<int64_t>(r) * tile.dv_padded;
    float& m = running[r];
    float& l = running[rows + r];
    float* o = running + 2 * static_cast<int64_t>(rows) + static_cast<int64_t>(r) * tile.dv_padded;
    if (next_l == 0.0f) {
      continue;  // the row sees none of the chunk
    }
    if (l == 0.0f) {
      m = next_m;
      l = next_l;
      for (int32_t i = 0; i < tile.dv_padded; i += F::kWidth) {
        F::Load(next_o + i).Store(o + i);
      }
      continue;
    }
    const float highest = next_m > m ? next_m : m;
    const F keep = Exp(F::Set1(m - highest));
    const F take = Exp(F::Set1(next_m - highest));
    F::Fma(F::Set1(l), keep, F::Mul(F::Set1(next_l), take)).StorePartial(&l, 1);
    m = highest;
    for (int32_t i = 0; i < tile.dv_padded; i += F::kWidth) {
      F::Fma(F::Load(o + i), keep, F::Mul(F::Load(next_o + i), take)).Store(o + i);
    }
  }
}

template <typename F>
void AttendFinish(const AttentionTile& tile, const float* running) {
  const int32_t rows = tile.rows();
  for (int32_t r = 0; r < rows; ++r) {
    const F inverse = F::Set1(1.0f / running[rows + r]);
    const float* o =
        running + 2 * static_cast<int64_t>(rows) + static_cast<int64_t>(r) * tile.dv_padded;
    float* out = tile.out + r / tile.group * tile.out_stride +
                 static_cast<int64_t>(r % tile.group) * tile.dv;
    for (int32_t i = 0; i < tile.dv; i += F::kWidth) {
      // + 0 makes -0 into 0: the zero's sign alone could tell that other rows shared the tile.
      StoreUpTo(F::Fma(F::Load(o + i), inverse, F::Set1(0.0f)), out + i, tile.dv - i);
    }
  }
}

}  // namespace
}  // namespace inferd
