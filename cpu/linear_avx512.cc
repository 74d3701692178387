// The linear op's kernels on AVX-512 with VNNI. A weight record unpacks to eight vectors of
// unsigned codes, one for each quad of k; VPDPBUSD multiplies a vector by a quad of a row of x
// broadcast to all 16 outputs. Sums are exact, so the bits are the scalar kernels'.
#include "cpu/lanes_avx512.h"
#include "cpu/linear_kernels.h"
#include "cpu/linear_lanes.h"

namespace inferd::cpu_internal {
namespace {

// The block sizes that there are kernels for; a block between two takes the larger.
int BlockRows(int64_t rows) {
  if (rows > 8) {
    return 12;
  }
  return static_cast<int>(rows <= 4 ? rows : rows <= 6 ? 6 : 8);
}

__m512i Load(const uint8_t* p) { return _mm512_loadu_si512(p); }

__m512 LoadHalves(const uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

__m512 LoadUnsigned(const uint8_t* p) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

__m512 LoadSigned(const uint8_t* p) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

template <typename T>
inline T LoadAs(const uint8_t* p) {
  T value;
  __builtin_memcpy(&value, p, sizeof value);
  return value;
}

// a & mask | b.
__m512i AndOr(__m512i a, __m512i mask, __m512i b) {
  return _mm512_ternarylogic_epi32(a, mask, b, 0xea);
}

[[gnu::always_inline]] inline void UnpackNibbles(const uint8_t* planes, __m512i* codes) {
  const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i both = Load(planes + 64 * j);
    codes[j] = _mm512_and_si512(both, low);
    codes[j + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
  }
}

// Ors bits [width * (j % per_plane), + width) of the planes into bit `to` of quad j's codes.
template <int kWidth, int kTo>
[[gnu::always_inline]] inline void AddPlane(const uint8_t* planes, __m512i* codes) {
  constexpr int kPerPlane = 8 / kWidth;
  const __m512i mask = _mm512_set1_epi8(((1 << kWidth) - 1) << kTo);
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) {
    const __m512i plane = Load(planes + 64 * (j / kPerPlane % (kWidth == 1 ? 1 : 2)));
    const int from = kWidth * (j % kPerPlane);
    const __m512i moved = from < kTo ? _mm512_slli_epi16(plane, static_cast<unsigned>(kTo - from))
                                     : _mm512_srli_epi16(plane, static_cast<unsigned>(from - kTo));
    codes[j] = AndOr(moved, mask, codes[j]);
  }
}

template <int kCodeBits>
[[gnu::always_inline]] inline void UnpackCodes(const uint8_t* record, __m512i* codes) {
  if constexpr (kCodeBits == 8) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      codes[j] = Load(record + 64 * j);
    }
  } else if constexpr (kCodeBits >= 4) {
    UnpackNibbles(record, codes);
    if constexpr (kCodeBits == 5) {
      AddPlane<1, 4>(record + 256, codes);
    } else if constexpr (kCodeBits == 6) {
      AddPlane<2, 4>(record + 256, codes);
    }
  } else {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      codes[j] = _mm512_setzero_si512();
    }
    AddPlane<2, 0>(record, codes);
    if constexpr (kCodeBits == 3) {
      AddPlane<1, 2>(record + 128, codes);
    }
  }
}

struct GroupScales {
  __m512 scale;
  __m512 minimum;
};

// `scales` follows a record's codes, `tail` the records of a block.
template <QuantFormat kFormat>
[[gnu::always_inline]] inline GroupScales LoadScales(const uint8_t* scales,
                                                     const uint8_t* tail,
                                                     int group) {
  constexpr TileFormat kTile = TileFormatOf(kFormat);
  GroupScales result{_mm512_setzero_ps(), _mm512_setzero_ps()};
  if constexpr (!kTile.super_block) {
    result.scale = LoadHalves(scales);
    if constexpr (kTile.minimum) {
      result.minimum = LoadHalves(scales + 32);
    }
    return result;
  }
  const __m512 d = LoadHalves(tail);
  const __m512 sign = _mm512_set1_ps(-0.0f);
  if constexpr (kTile.group_values == 32) {
    const __m512 negated = _mm512_xor_ps(LoadHalves(tail + 32), sign);
    result.scale = _mm512_mul_ps(d, LoadUnsigned(scales));
    result.minimum = _mm512_mul_ps(negated, LoadUnsigned(scales + 16));
  } else if constexpr (kTile.minimum) {
    const __m512 negated = _mm512_xor_ps(LoadHalves(tail + 32), sign);
    const __m512i both = _mm512_cvtepu8_epi32(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + 16 * group)));
    result.scale =
        _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_and_si512(both, _mm512_set1_epi32(15))));
    result.minimum = _mm512_mul_ps(negated, _mm512_cvtepi32_ps(_mm512_srli_epi32(both, 4)));
  } else {
    result.scale = _mm512_mul_ps(d, LoadSigned(scales + 16 * group));
  }
  return result;
}

// One weight record times the R rows of an activation record.
template <QuantFormat kFormat, int R>
[[gnu::always_inline]] inline void AddRecord(const uint8_t* record,
                                             const uint8_t* tail,
                                             const uint8_t* x,
                                             __m512* totals) {
  constexpr TileFormat kTile = TileFormatOf(kFormat);
  constexpr int kGroups = kTile.GroupsPerRecord();
  constexpr int kQuads = 8 / kGroups;
  const uint8_t* x_scales = x + R * kRecordValues;
  const uint8_t* x_sums = x_scales + 4 * R * kGroups;
  const uint8_t* x_scaled_sums = x_sums + 4 * R * kGroups;
  // (-offset, 0) in each lane: VPDPWSSD with a sum (its low half, its sign) takes offset * sum off.
  const __m512i offset = _mm512_set1_epi32(-kTile.offset & 0xffff);
  __m512i codes[8];
  UnpackCodes<kTile.code_bits>(record, codes);
#pragma GCC unroll 2
  for (int g = 0; g < kGroups; ++g) {
    const GroupScales weight = LoadScales<kFormat>(record + kTile.CodeBytes(), tail, g);
#pragma GCC unroll 12
    for (int m = 0; m < R; ++m) {
      const int at = 4 * (g * R + m);
      __m512i dot = _mm512_setzero_si512();
      if constexpr (kTile.offset != 0) {
        dot = _mm512_dpwssd_epi32(dot, offset, _mm512_set1_epi32(LoadAs<int32_t>(x_sums + at)));
      }
#pragma GCC unroll 8
      for (int j = g * kQuads; j < (g + 1) * kQuads; ++j) {
        const int32_t quad = LoadAs<int32_t>(x + m * kRecordValues + 4 * j);
        dot = _mm512_dpbusd_epi32(dot, codes[j], _mm512_set1_epi32(quad));
      }
      const __m512 scale =
          _mm512_mul_ps(weight.scale, _mm512_set1_ps(LoadAs<float>(x_scales + at)));
      totals[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, totals[m]);
      if constexpr (kTile.minimum) {
        totals[m] = _mm512_fmadd_ps(
            weight.minimum, _mm512_set1_ps(LoadAs<float>(x_scaled_sums + at)), totals[m]);
      }
    }
  }
}

// The lines of kBytes from p, into the first cache (locality 3) or the second (2).
template <int kBytes, int kLocality>
[[gnu::always_inline]] inline void Prefetch(const uint8_t* p) {
  __builtin_prefetch(p, 0, kLocality);
  if constexpr (kBytes > 64) {
    Prefetch<kBytes - 64, kLocality>(p + 64);
  }
}

// How far ahead tiles in lockstep fetch: the same place in the next T tiles, since a tile is short
// and the end of one stream is the start of another; within the stream if tiles are so long that
// T of them would crowd the second cache.
int64_t LockstepPrefetchBytes(int64_t bytes) {
  constexpr int64_t kLong = 256 << 10;
  return bytes <= kLong ? bytes : 4096;
}

// T neighbouring tiles in lockstep: T streams of weights.
template <QuantFormat kFormat, int R, int T>
void TilesInLockstep(const TileRun& run, const uint8_t* tiles, float* out) {
  constexpr TileFormat kTile = TileFormatOf(kFormat);
  constexpr int64_t kXBytes = ActivationRecordBytes(R, kTile.GroupsPerRecord());
  const int64_t ahead = T > 1 ? LockstepPrefetchBytes(T * run.tile_bytes) : 1024;
  __m512 totals[T][R];
#pragma GCC unroll 4
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 12
    for (int m = 0; m < R; ++m) {
      totals[t][m] = _mm512_setzero_ps();
    }
  }
  const uint8_t* x = run.activations;
  const uint8_t* block = tiles;
  for (int64_t k = 0; k < run.k; k += kTile.BlockValues()) {
    const uint8_t* record = block;
    for (int r = 0; r < kTile.RecordsPerBlock(); ++r) {
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        const uint8_t* bytes = record + t * run.tile_bytes;
        const uint8_t* tail =
            block + t * run.tile_bytes + kTile.RecordsPerBlock() * kTile.RecordBytes();
        Prefetch<kTile.RecordBytes(), T == 1 ? 3 : 2>(bytes + ahead);
        AddRecord<kFormat, R>(bytes, tail, x, totals[t]);
      }
      record += kTile.RecordBytes();
      x += kXBytes;
    }
    block += kTile.BlockBytes();
  }
#pragma GCC unroll 4
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 12
    for (int m = 0; m < R; ++m) {
      _mm512_storeu_ps(out + (t * R + m) * kTileRows, totals[t][m]);
    }
  }
}

template <QuantFormat kFormat, int R, int T>
void RunTiles(const TileRun& run) {
  int tile = 0;
  for (; tile + T <= run.num_tiles; tile += T) {
    TilesInLockstep<kFormat, R, T>(
        run, run.tiles + tile * run.tile_bytes, run.out + tile * R * kTileRows);
  }
  for (; tile < run.num_tiles; ++tile) {
    TilesInLockstep<kFormat, R, 1>(
        run, run.tiles + tile * run.tile_bytes, run.out + tile * R * kTileRows);
  }
}

template <QuantFormat kFormat>
void RunFormat(const TileRun& run) {
  switch (run.block_rows) {
    case 1:
      return RunTiles<kFormat, 1, 4>(run);
    case 2:
      return RunTiles<kFormat, 2, 2>(run);
    case 3:
      return RunTiles<kFormat, 3, 2>(run);
    case 4:
      return RunTiles<kFormat, 4, 2>(run);
    case 6:
      return RunTiles<kFormat, 6, 1>(run);
    case 8:
      return RunTiles<kFormat, 8, 1>(run);
    default:
      return RunTiles<kFormat, 12, 1>(run);
  }
}

void Tiles(const TileRun& run) {
  WithBlockFormat(run.format, [&](auto format) { RunFormat<format.value>(run); });
}

template <int kVectors>
inline QuantizedGroup QuantizeGroup(const float* x, uint8_t* codes) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512 values[kVectors];
  __m512i largest = _mm512_setzero_si512();
#pragma GCC unroll 2
  for (int i = 0; i < kVectors; ++i) {
    values[i] = _mm512_loadu_ps(x + 16 * i);
    largest =
        _mm512_max_epu32(largest, _mm512_and_si512(_mm512_castps_si512(values[i]), magnitude));
  }
  const uint32_t absmax_bits = _mm512_reduce_max_epu32(largest);
  const float absmax = __builtin_bit_cast(float, absmax_bits);
  QuantizedGroup group;
  __m512 inverse = _mm512_setzero_ps();
  if (absmax_bits >= 0x7f800000u) {
    group.scale = __builtin_nanf("");
#pragma GCC unroll 2
    for (int i = 0; i < kVectors; ++i) {
      values[i] = _mm512_setzero_ps();
    }
  } else if (absmax >= kNegligibleAbsmax) {
    group.scale = absmax / 127.0f;
    inverse = _mm512_set1_ps(127.0f / absmax);
  }
  __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 2
  for (int i = 0; i < kVectors; ++i) {
    const __m512i integers = _mm512_cvtps_epi32(_mm512_mul_ps(values[i], inverse));
    sum = _mm512_add_epi32(sum, integers);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16 * i), _mm512_cvtepi32_epi8(integers));
  }
  group.sum = _mm512_reduce_add_epi32(sum);
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
  FloatTileOf<Avx512Lanes, 4>(run, [](const uint16_t* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return Avx512Lanes{_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
  });
}

void Finish(const FinishRun& run) { FinishRows<Avx512Lanes>(run); }

}  // namespace

const LinearKernels& Avx512LinearKernels() {
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
