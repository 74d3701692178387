// The linear op's kernels on AVX2. Outputs are computed eight at a time: half a tile. VPMADDUBSW
// multiplies the codes of one quad of k by a quad of a row of x broadcast to all eight, and adds
// pairs in 16 bits; as many quads are added there as cannot overflow, then VPMADDWD widens to 32.
// Sums are exact, so the bits are the scalar kernels'.
#include "cpu/lanes_avx2.h"
#include "cpu/linear_kernels.h"
#include "cpu/linear_lanes.h"

namespace inferd::cpu_internal {
namespace {

constexpr int kHalfRows = 8;

int BlockRows(int64_t rows) { return rows > 2 ? 4 : static_cast<int>(rows); }

__m256i Load(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

__m256 LoadHalves(const uint8_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

__m128i Load8(const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }

template <typename T>
inline T LoadAs(const uint8_t* p) {
  T value;
  __builtin_memcpy(&value, p, sizeof value);
  return value;
}

// Bits [from, from + width) of each byte, moved to bit `to`; the rest is zero.
template <int kFrom, int kWidth, int kTo>
[[gnu::always_inline]] inline __m256i Field(__m256i bytes) {
  constexpr int kMask = ((1 << kWidth) - 1) << kTo;
  const __m256i moved =
      kFrom < kTo ? _mm256_slli_epi16(bytes, kTo - kFrom) : _mm256_srli_epi16(bytes, kFrom - kTo);
  return _mm256_and_si256(moved, _mm256_set1_epi8(static_cast<char>(kMask)));
}

// The codes of quad j for eight rows; `record` points to the half's first byte of a vector.
template <int kCodeBits, int j>
[[gnu::always_inline]] inline __m256i Codes(const uint8_t* record) {
  if constexpr (kCodeBits == 8) {  // signed again
    return _mm256_xor_si256(Load(record + 64 * j), _mm256_set1_epi8(-128));
  } else if constexpr (kCodeBits >= 4) {
    const __m256i nibbles = Field<4 * (j / 4), 4, 0>(Load(record + 64 * (j % 4)));
    if constexpr (kCodeBits == 5) {
      return _mm256_or_si256(nibbles, Field<j, 1, 4>(Load(record + 256)));
    } else if constexpr (kCodeBits == 6) {
      return _mm256_or_si256(nibbles, Field<2 * (j % 4), 2, 4>(Load(record + 256 + 64 * (j / 4))));
    }
    return nibbles;
  } else {
    const __m256i pairs = Field<2 * (j % 4), 2, 0>(Load(record + 64 * (j / 4)));
    if constexpr (kCodeBits == 3) {
      return _mm256_or_si256(pairs, Field<j, 1, 2>(Load(record + 128)));
    }
    return pairs;
  }
}

// How many quads' products fit 16 bits: two of 127 * code each.
constexpr int QuadsPerSum(int code_bits) {
  return code_bits <= 4 ? 8 : code_bits == 5 ? 4 : code_bits == 6 ? 2 : 1;
}

// Codes of quads that are kept in registers for all rows; 8-bit codes need their magnitudes too.
constexpr int QuadsPerChunk(int code_bits) { return code_bits <= 4 ? 8 : 4; }

// Adds the products of quads [j, last) to `dots`, the integers of R rows.
template <int kCodeBits, int R, int j, int kLast>
[[gnu::always_inline]] inline void AddQuads(const uint8_t* record,
                                            const uint8_t* x,
                                            __m256i* dots) {
  constexpr int kQuads =
      kLast - j < QuadsPerChunk(kCodeBits) ? kLast - j : QuadsPerChunk(kCodeBits);
  constexpr int kPerSum = QuadsPerSum(kCodeBits);
  __m256i codes[8];
  codes[0] = Codes<kCodeBits, j>(record);
  codes[1] = Codes<kCodeBits, j + 1>(record);
  codes[2] = Codes<kCodeBits, j + 2>(record);
  codes[3] = Codes<kCodeBits, j + 3>(record);
  if constexpr (kQuads == 8) {
    codes[4] = Codes<kCodeBits, 4>(record);
    codes[5] = Codes<kCodeBits, 5>(record);
    codes[6] = Codes<kCodeBits, 6>(record);
    codes[7] = Codes<kCodeBits, 7>(record);
  }
  const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 4
  for (int m = 0; m < R; ++m) {
    __m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int q = 0; q < kQuads; ++q) {
      __m256i quad = _mm256_set1_epi32(LoadAs<int32_t>(x + m * kRecordValues + 4 * (j + q)));
      __m256i products;
      if constexpr (kCodeBits == 8) {  // |code| <= 128: pairs fit, where unsigned codes do not
        quad = _mm256_sign_epi8(quad, codes[q]);
        products = _mm256_maddubs_epi16(_mm256_abs_epi8(codes[q]), quad);
      } else {
        products = _mm256_maddubs_epi16(codes[q], quad);
      }
      sum = q % kPerSum == 0 ? products : _mm256_add_epi16(sum, products);
      if ((q + 1) % kPerSum == 0 || q + 1 == kQuads) {
        dots[m] = _mm256_add_epi32(dots[m], _mm256_madd_epi16(sum, ones));
      }
    }
  }
  if constexpr (j + kQuads < kLast) {
    AddQuads<kCodeBits, R, j + kQuads, kLast>(record, x, dots);
  }
}

struct GroupScales {
  __m256 scale;
  __m256 minimum;
};

// `scales` follows a record's codes, `tail` the records of a block; both moved to the half.
template <QuantFormat kFormat>
[[gnu::always_inline]] inline GroupScales LoadScales(const uint8_t* scales,
                                                     const uint8_t* tail,
                                                     int half,
                                                     int group) {
  constexpr TileFormat kTile = TileFormatOf(kFormat);
  GroupScales result{_mm256_setzero_ps(), _mm256_setzero_ps()};
  if constexpr (!kTile.super_block) {
    result.scale = LoadHalves(scales + 16 * half);
    if constexpr (kTile.minimum) {
      result.minimum = LoadHalves(scales + 32 + 16 * half);
    }
    return result;
  }
  const __m256 d = LoadHalves(tail + 16 * half);
  const __m256 sign = _mm256_set1_ps(-0.0f);
  const uint8_t* bytes = scales + kHalfRows * half;
  const auto widen = [](const uint8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(Load8(p)));
  };
  if constexpr (kTile.group_values == 32) {
    const __m256 negated = _mm256_xor_ps(LoadHalves(tail + 32 + 16 * half), sign);
    result.scale = _mm256_mul_ps(d, widen(bytes));
    result.minimum = _mm256_mul_ps(negated, widen(bytes + 16));
  } else if constexpr (kTile.minimum) {
    const __m256 negated = _mm256_xor_ps(LoadHalves(tail + 32 + 16 * half), sign);
    const __m256i both = _mm256_cvtepu8_epi32(Load8(bytes + 16 * group));
    result.scale =
        _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_and_si256(both, _mm256_set1_epi32(15))));
    result.minimum = _mm256_mul_ps(negated, _mm256_cvtepi32_ps(_mm256_srli_epi32(both, 4)));
  } else {
    result.scale =
        _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(Load8(bytes + 16 * group))));
  }
  return result;
}

// Half a weight record times the R rows of an activation record.
template <QuantFormat kFormat, int R>
[[gnu::always_inline]] inline void AddHalfRecord(
    const uint8_t* record, const uint8_t* tail, const uint8_t* x, int half, __m256* totals) {
  constexpr TileFormat kTile = TileFormatOf(kFormat);
  constexpr int kGroups = kTile.GroupsPerRecord();
  const uint8_t* x_scales = x + R * kRecordValues;
  const uint8_t* x_sums = x_scales + 4 * R * kGroups;
  const uint8_t* x_scaled_sums = x_sums + 4 * R * kGroups;
  const uint8_t* codes = record + 32 * half;
  const auto group = [&]<int g>() __attribute__((always_inline)) {
    constexpr int kQuads = 8 / kGroups;
    __m256i dots[R];
#pragma GCC unroll 4
    for (int m = 0; m < R; ++m) {
      dots[m] = _mm256_setzero_si256();
      if constexpr (kTile.offset != 0 && kTile.code_bits != 8) {
        // (-offset, 0) times the sum's (low half, sign).
        dots[m] = _mm256_madd_epi16(_mm256_set1_epi32(-kTile.offset & 0xffff),
                                    _mm256_set1_epi32(LoadAs<int32_t>(x_sums + 4 * (g * R + m))));
      }
    }
    AddQuads<kTile.code_bits, R, g * kQuads, (g + 1) * kQuads>(codes, x, dots);
    const GroupScales weight = LoadScales<kFormat>(record + kTile.CodeBytes(), tail, half, g);
#pragma GCC unroll 4
    for (int m = 0; m < R; ++m) {
      const int at = 4 * (g * R + m);
      const __m256 scale =
          _mm256_mul_ps(weight.scale, _mm256_set1_ps(LoadAs<float>(x_scales + at)));
      totals[m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[m]), scale, totals[m]);
      if constexpr (kTile.minimum) {
        totals[m] = _mm256_fmadd_ps(
            weight.minimum, _mm256_set1_ps(LoadAs<float>(x_scaled_sums + at)), totals[m]);
      }
    }
  };
  group.template operator()<0>();
  if constexpr (kGroups == 2) {
    group.template operator()<1>();
  }
}

template <int kBytes>
[[gnu::always_inline]] inline void Prefetch(const uint8_t* p) {
  __builtin_prefetch(p);
  if constexpr (kBytes > 64) {
    Prefetch<kBytes - 64>(p + 64);
  }
}

template <QuantFormat kFormat, int R>
void OneTile(const TileRun& run, const uint8_t* tile, float* out) {
  constexpr TileFormat kTile = TileFormatOf(kFormat);
  constexpr int64_t kXBytes = ActivationRecordBytes(R, kTile.GroupsPerRecord());
  constexpr int kPrefetchBytes = 1024;
  __m256 low[R];
  __m256 high[R];
#pragma GCC unroll 4
  for (int m = 0; m < R; ++m) {
    low[m] = _mm256_setzero_ps();
    high[m] = _mm256_setzero_ps();
  }
  const uint8_t* x = run.activations;
  const uint8_t* block = tile;
  for (int64_t k = 0; k < run.k; k += kTile.BlockValues()) {
    const uint8_t* record = block;
    const uint8_t* tail = block + kTile.RecordsPerBlock() * kTile.RecordBytes();
    for (int r = 0; r < kTile.RecordsPerBlock(); ++r) {
      Prefetch<kTile.RecordBytes()>(record + kPrefetchBytes);
      AddHalfRecord<kFormat, R>(record, tail, x, 0, low);
      AddHalfRecord<kFormat, R>(record, tail, x, 1, high);
      record += kTile.RecordBytes();
      x += kXBytes;
    }
    block += kTile.BlockBytes();
  }
#pragma GCC unroll 4
  for (int m = 0; m < R; ++m) {
    _mm256_storeu_ps(out + m * kTileRows, low[m]);
    _mm256_storeu_ps(out + m * kTileRows + kHalfRows, high[m]);
  }
}

template <QuantFormat kFormat>
void RunFormat(const TileRun& run) {
  for (int t = 0; t < run.num_tiles; ++t) {
    const uint8_t* tile = run.tiles + t * run.tile_bytes;
    float* out = run.out + t * run.block_rows * kTileRows;
    if (run.block_rows == 1) {
      OneTile<kFormat, 1>(run, tile, out);
    } else if (run.block_rows == 2) {
      OneTile<kFormat, 2>(run, tile, out);
    } else {
      OneTile<kFormat, 4>(run, tile, out);
    }
  }
}

void Tiles(const TileRun& run) {
  WithBlockFormat(run.format, [&](auto format) { RunFormat<format.value>(run); });
}

inline __m128i Fold(__m256i v, __m128i (*fold)(__m128i, __m128i)) {
  const __m128i x4 = fold(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const __m128i x2 = fold(x4, _mm_shuffle_epi32(x4, 0x4e));
  return fold(x2, _mm_shuffle_epi32(x2, 0xb1));
}

// kPairs * 16 values.
template <int kPairs>
inline QuantizedGroup QuantizeGroup(const float* x, uint8_t* codes) {
  constexpr int kVectors = 2 * kPairs;
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256 values[kVectors];
  __m256i largest = _mm256_setzero_si256();
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) {
    values[i] = _mm256_loadu_ps(x + 8 * i);
    largest =
        _mm256_max_epu32(largest, _mm256_and_si256(_mm256_castps_si256(values[i]), magnitude));
  }
  const auto absmax_bits = static_cast<uint32_t>(
      _mm_cvtsi128_si32(Fold(largest, [](__m128i a, __m128i b) { return _mm_max_epu32(a, b); })));
  const float absmax = __builtin_bit_cast(float, absmax_bits);
  QuantizedGroup group;
  __m256 inverse = _mm256_setzero_ps();
  if (absmax_bits >= 0x7f800000u) {
    group.scale = __builtin_nanf("");
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      values[i] = _mm256_setzero_ps();
    }
  } else if (absmax >= kNegligibleAbsmax) {
    group.scale = absmax / 127.0f;
    inverse = _mm256_set1_ps(127.0f / absmax);
  }
  __m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 2
  for (int i = 0; i < kPairs; ++i) {
    const __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(values[2 * i], inverse));
    const __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(values[2 * i + 1], inverse));
    sum = _mm256_add_epi32(sum, _mm256_add_epi32(a, b));
    const __m256i shorts = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(codes + 16 * i),
        _mm_packs_epi16(_mm256_castsi256_si128(shorts), _mm256_extracti128_si256(shorts, 1)));
  }
  group.sum =
      _mm_cvtsi128_si32(Fold(sum, [](__m128i a, __m128i b) { return _mm_add_epi32(a, b); }));
  return group;
}

void Quantize(const QuantizeRun& run) {
  if (run.group_values == 32) {
    QuantizeRows<32>(run, QuantizeGroup<2>);
  } else {
    QuantizeRows<16>(run, QuantizeGroup<1>);
  }
}

void FloatTiles(const FloatTileRun& run) {
  FloatTileOf<Avx2Lanes, 1>(run, [](const uint16_t* p) {
    const auto widen = [](const uint16_t* half) {
      const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(half));
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
    };
    return Avx2Lanes{widen(p), widen(p + 8)};
  });
}

void Finish(const FinishRun& run) { FinishRows<Avx2Lanes>(run); }

}  // namespace

const LinearKernels& Avx2LinearKernels() {
  static constexpr LinearKernels kKernels = {
      .block_rows = BlockRows,
      .quantize = Quantize,
      .tiles = Tiles,
      .float_tile = FloatTiles,
      .finish = Finish,
  };
  return kKernels;
}

}  // namespace inferd::cpu_internal
