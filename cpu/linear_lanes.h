// The parts of the linear op that are written once for all instruction sets: where quantised
// activations go, and, over a Lanes type (lanes_*.h), float weights and the end of every op.
#pragma once

#include <type_traits>

#include "cpu/linear_kernels.h"
#include "cpu/vector_math_kernels.h"

namespace inferd::cpu_internal {
namespace {

// f(std::integral_constant of the format), so that it can be a template argument. Formats without
// blocks are float_tile's.
template <typename F>
inline void WithBlockFormat(QuantFormat format, const F& f) {
  switch (format) {
    case QuantFormat::kQ4_0:
      return f(std::integral_constant<QuantFormat, QuantFormat::kQ4_0>{});
    case QuantFormat::kQ4_1:
      return f(std::integral_constant<QuantFormat, QuantFormat::kQ4_1>{});
    case QuantFormat::kQ5_0:
      return f(std::integral_constant<QuantFormat, QuantFormat::kQ5_0>{});
    case QuantFormat::kQ5_1:
      return f(std::integral_constant<QuantFormat, QuantFormat::kQ5_1>{});
    case QuantFormat::kQ8_0:
      return f(std::integral_constant<QuantFormat, QuantFormat::kQ8_0>{});
    case QuantFormat::kQ2_K:
      return f(std::integral_constant<QuantFormat, QuantFormat::kQ2_K>{});
    case QuantFormat::kQ3_K:
      return f(std::integral_constant<QuantFormat, QuantFormat::kQ3_K>{});
    case QuantFormat::kQ4_K:
      return f(std::integral_constant<QuantFormat, QuantFormat::kQ4_K>{});
    case QuantFormat::kQ5_K:
      return f(std::integral_constant<QuantFormat, QuantFormat::kQ5_K>{});
    case QuantFormat::kQ6_K:
      return f(std::integral_constant<QuantFormat, QuantFormat::kQ6_K>{});
    case QuantFormat::kF32:
    case QuantFormat::kF16:
    case QuantFormat::kBF16:
      return;
  }
}

// A group of x as int8 codes: x is about scale * code. `sum` is the codes'.
struct QuantizedGroup {
  float scale = 0.0f;
  int32_t sum = 0;
};

// Fills an activation block; quantize(x, codes) does one group of kGroupValues.
template <int kGroupValues, typename Quantize>
inline void QuantizeRows(const QuantizeRun& run, const Quantize& quantize) {
  constexpr int kGroups = kRecordValues / kGroupValues;
  const int64_t record_bytes = int64_t{run.block_rows} * (kRecordValues + 12 * kGroups);
  const int64_t part_bytes = 4 * kGroups * run.block_rows;
  for (int row = 0; row < run.block_rows; ++row) {
    uint8_t* record = run.block;
    for (int64_t k = 0; k < run.k; k += kRecordValues, record += record_bytes) {
      uint8_t* codes = record + row * kRecordValues;
      uint8_t* scales = record + run.block_rows * kRecordValues + 4 * row;
      for (int g = 0; g < kGroups; ++g) {
        QuantizedGroup group;
        if (row < run.rows) {
          const float* x = run.x + row * run.x_stride + k + g * kGroupValues;
          group = quantize(x, codes + g * kGroupValues);
        } else {
          __builtin_memset(codes + g * kGroupValues, 0, kGroupValues);
        }
        const float scaled_sum = group.scale * static_cast<float>(group.sum);
        uint8_t* at = scales + 4 * g * run.block_rows;
        __builtin_memcpy(at, &group.scale, 4);
        __builtin_memcpy(at + part_bytes, &group.sum, 4);
        __builtin_memcpy(at + 2 * part_bytes, &scaled_sum, 4);
      }
    }
  }
}

template <typename F>
inline F FinishOne(const FinishRun& run, F value, const float* up) {
  if (run.bias != nullptr) {
    value = F::Add(value, F::Load(run.bias));
  }
  if (run.gate != Gate::kNone) {
    F factor = F::Load(up);
    if (run.up_bias != nullptr) {
      factor = F::Add(factor, F::Load(run.up_bias));
    }
    value = F::Mul(run.gate == Gate::kSilu ? Silu(value) : GeluTanh(value), factor);
  }
  if (run.scale != 1.0f) {
    value = F::Mul(value, F::Set1(run.scale));
  }
  if (run.cap > 0.0f) {
    value = SoftCap(value, F::Set1(run.cap), F::Set1(1.0f / run.cap));
  }
  return value;
}

template <typename F>
inline void FinishRows(const FinishRun& run) {
  for (int row = 0; row < run.rows; ++row) {
    const float* up = run.up_sums == nullptr ? nullptr : run.up_sums + row * kTileRows;
    F value = FinishOne<F>(run, F::Load(run.sums + row * kTileRows), up);
    float* out = run.out + row * run.out_stride;
    const bool whole = run.columns == kTileRows;
    if (run.residual != nullptr) {
      const float* residual = run.residual + row * run.residual_stride;
      value = F::Add(whole ? F::Load(residual) : F::LoadPartial(residual, run.columns), value);
    }
    if (whole) {
      value.Store(out);
    } else {
      value.StorePartial(out, run.columns);
    }
  }
}

// 16 lanes over k, each a chain of fma from zero, then ReduceAdd's tree. N weight rows by M rows
// of x at a time; `load` widens 16 weights.
template <typename F, int N, int M, typename T, typename Load>
inline void FloatProducts(const FloatTileRun& run, int n0, int m0, const Load& load) {
  const T* weights = reinterpret_cast<const T*>(run.tile) + n0 * run.k;
  const float* x = run.x + m0 * run.x_stride;
  F sums[N][M];
  for (int n = 0; n < N; ++n) {
    for (int m = 0; m < M; ++m) {
      sums[n][m] = F::Set1(0.0f);
    }
  }
  for (int64_t k = 0; k < run.k; k += kFloatLanes) {
    F rows[M];
    for (int m = 0; m < M; ++m) {
      rows[m] = F::Load(x + m * run.x_stride + k);
    }
    for (int n = 0; n < N; ++n) {
      const F weight = load(weights + n * run.k + k);
      for (int m = 0; m < M; ++m) {
        sums[n][m] = F::Fma(weight, rows[m], sums[n][m]);
      }
    }
  }
  for (int n = 0; n < N; ++n) {
    for (int m = 0; m < M; ++m) {
      run.out[(m0 + m) * kTileRows + n0 + n] = F::ReduceAdd(sums[n][m]);
    }
  }
}

// N: as many weight rows as registers allow with four rows of x.
template <typename F, int N, typename T, typename Load>
inline void FloatTile(const FloatTileRun& run, const Load& load) {
  for (int n = 0; n < kTileRows; n += N) {
    int m = 0;
    for (; m + 4 <= run.rows; m += 4) {
      FloatProducts<F, N, 4, T>(run, n, m, load);
    }
    for (; m < run.rows; ++m) {
      FloatProducts<F, N, 1, T>(run, n, m, load);
    }
  }
}

// `load_bfloat` widens 16 bf16.
template <typename F, int N, typename LoadBfloat>
inline void FloatTileOf(const FloatTileRun& run, const LoadBfloat& load_bfloat) {
  switch (run.format) {
    case QuantFormat::kF16:
      return FloatTile<F, N, uint16_t>(run, [](const uint16_t* p) { return F::LoadHalf(p); });
    case QuantFormat::kBF16:
      return FloatTile<F, N, uint16_t>(run, load_bfloat);
    default:
      return FloatTile<F, N, float>(run, [](const float* p) { return F::Load(p); });
  }
}

}  // namespace
}  // namespace inferd::cpu_internal
