// What one warp does for a linear op, written once for the card and for the host: take packed
// weights apart, multiply a block of K, apply scales, and finish an output.
//
// A `Warp` is a policy: DeviceWarp (qgemm_device.cuh) is a real warp and a register is the calling
// thread's, Lanes<T, 1>; EmulatedWarp (qgemm_emulated.h) is 32 lanes in arrays. Each(f) calls
// f(lane, slot) for each lane it has; Mma() is the one collective operation. Everything else is
// per lane. Contract: docs/design/0008, steps 1 to 3 and 5.
#pragma once

#include "cuda/activation_layout.h"
#include "cuda/elementary.h"
#include "cuda/host_device.h"
#include "cuda/qgemm_args.h"
#include "cuda/weight_layout.h"

#ifndef __CUDA_ARCH__
#include <cstring>
#endif

namespace inferd::cuda_internal {

inline constexpr uint32_t kBfloatOnes = 0x3f803f80u;  // a pair of 1

// `kWords` words from an address that is aligned to all of them. Weights are read once: they ask
// not to be kept in the first-level cache.
template <int kWords>
INFERD_HD void LoadWeightWords(const uint8_t* from, uint32_t* to) {
#ifdef __CUDA_ARCH__
  if constexpr (kWords == 4) {
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
        : "l"(from));
  } else if constexpr (kWords == 2) {
    asm("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];"
        : "=r"(to[0]), "=r"(to[1])
        : "l"(from));
  } else {
    asm("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(to[0]) : "l"(from));
  }
#else
  std::memcpy(to, from, 4 * kWords);
#endif
}

// 16 bytes of activations, from global or shared memory.
INFERD_HD void LoadPair(const uint8_t* from, uint32_t* to) {
#ifdef __CUDA_ARCH__
  const uint4 words = *reinterpret_cast<const uint4*>(from);
  to[0] = words.x;
  to[1] = words.y;
  to[2] = words.z;
  to[3] = words.w;
#else
  std::memcpy(to, from, 16);
#endif
}

// All that a lane needs of one record: its codes, and the scales of rows r and r + 8.
template <WeightFormat kFormat>
struct LaneRecord {
  static constexpr int kGroups = kFormat.GroupsPerBlock();
  static constexpr bool kSuper = kFormat.scale == ScaleKind::kSuperBlock;
  static constexpr int kScaleWords = kSuper ? kGroups / 2 : kGroups;

  uint32_t codes[2 * kFormat.bits];
  uint32_t scale[kScaleWords];
  uint32_t minimum[kFormat.HasMinimum() ? kScaleWords : 1];
  uint32_t zero;       // a byte for each group: the zero of r in its low nibble, of r + 8 above
  uint32_t d;          // two f16
  uint32_t d_minimum;  // two f16
};

template <int kWidth>
INFERD_HD void LoadPlane(const uint8_t* plane, int lane, uint32_t* words) {
  constexpr int kWords = WordsPerLane(kWidth) < 4 ? WordsPerLane(kWidth) : 4;
  INFERD_UNROLL
  for (int word = 0; word < WordsPerLane(kWidth); word += kWords) {
    LoadWeightWords<kWords>(plane + WordAt(kWidth, lane, word), words + word);
  }
}

// `tile` is the tile's first byte, `blocks` its number of records.
template <WeightFormat kFormat>
INFERD_HD void LoadRecord(
    const uint8_t* tile, int64_t blocks, int64_t block, int lane, LaneRecord<kFormat>& to) {
  using Record = LaneRecord<kFormat>;
  const uint8_t* record = tile + block * kFormat.RecordBytes();
  LoadPlane<PlaneWidth(kFormat.bits, 0)>(record, lane, to.codes);
  if constexpr (NumPlanes(kFormat.bits) == 2) {
    LoadPlane<PlaneWidth(kFormat.bits, 1)>(record + PlaneAt(1), lane, to.codes + 4);
  }
  constexpr int kLaneBytes = 4 * Record::kScaleWords;
  const int pair = lane / 4;  // of rows
  LoadWeightWords<Record::kScaleWords>(record + kFormat.ScaleAt() + pair * kLaneBytes, to.scale);
  if constexpr (kFormat.HasMinimum()) {
    LoadWeightWords<Record::kScaleWords>(record + kFormat.MinimumAt() + pair * kLaneBytes,
                                         to.minimum);
  }
  if constexpr (kFormat.zero == ZeroKind::kZeroPoint) {
    const uint8_t* zeros = record + kFormat.ZeroAt() + pair * Record::kGroups;
    to.zero = 0;
    INFERD_UNROLL
    for (int g = 0; g < Record::kGroups; ++g) {
      to.zero |= uint32_t{zeros[g]} << (8 * g);
    }
  }
  if constexpr (Record::kSuper) {
    const uint8_t* factors =
        tile + blocks * kFormat.RecordBytes() + block / 2 * kFormat.FactorBytes() + pair * 4;
    LoadWeightWords<1>(factors, &to.d);
    if constexpr (kFormat.HasMinimum()) {
      LoadWeightWords<1>(factors + 32, &to.d_minimum);
    }
  }
}

// The bits of 128 + code as a pair of bf16: seven bits of mantissa hold what is below 128.
inline constexpr uint32_t kBfloat128 = 0x43004300u;
inline constexpr uint32_t kBfloatMinus128 = 0xc300c300u;

// -(128 + zero) for both halves of register r of fragment A, group g.
template <WeightFormat kFormat>
INFERD_HD uint32_t NegativeOffset(const LaneRecord<kFormat>& record, int r, int g) {
  if constexpr (kFormat.zero == ZeroKind::kZeroPoint) {
    const uint32_t zero = record.zero >> (8 * g + 4 * (r % 2)) & 15u;
    return kBfloatMinus128 | zero | zero << 16;
  } else if constexpr (kFormat.zero == ZeroKind::kSymmetric) {
    constexpr uint32_t kHalf = 1u << (kFormat.bits - 1);
    return kBfloatMinus128 | kHalf | kHalf << 16;
  } else {
    return kBfloatMinus128;
  }
}

// Register r of fragment A of step `step`: the integers of two weights as bf16, exactly.
template <WeightFormat kFormat>
INFERD_HD uint32_t IntegerPair(const LaneRecord<kFormat>& record, int step, int r) {
  constexpr int kWidth = PlaneWidth(kFormat.bits, 0);
  const WordBit at = CodeInWords(kWidth, step, r, 0);
  const uint32_t word = record.codes[at.word] >> at.bit;
  if constexpr (kFormat.bits == 8) {
    // Two's complement: low seven bits minus 128 if the sign is set. 256 is 0x4380.
    const uint32_t magnitude = AndOr(word, 0x007f007fu, kBfloat128);
    const uint32_t offset = AndOr(word, 0x00800080u, kBfloatMinus128);
    return ExactBfloatPairFma(magnitude, kBfloatOnes, offset);
  } else {
    constexpr uint32_t kMask = ((1u << kWidth) - 1u) * 0x00010001u;
    uint32_t code = AndOr(word, kMask, kBfloat128);
    if constexpr (NumPlanes(kFormat.bits) == 2) {
      const WordBit high = CodeInWords(1, step, r, 0);
      code |= (record.codes[4 + high.word] >> high.bit & 0x00010001u) << PlaneShift(1);
    }
    const int group = step / kFormat.StepsPerGroup();
    return ExactBfloatPairFma(code, kBfloatOnes, NegativeOffset<kFormat>(record, r, group));
  }
}

// Value of a plane of scales: row r (half = 0) or r + 8 (half = 1), group g; `factor` is d or dmin.
template <WeightFormat kFormat>
INFERD_HD float ScaleValue(const uint32_t* words, uint32_t factor, int g, int half) {
  if constexpr (kFormat.scale == ScaleKind::kHalf) {
    return FloatFromHalf(static_cast<uint16_t>(words[g] >> (16 * half)));
  } else {
    const int byte = 2 * g + half;
    const auto integer = static_cast<int8_t>(words[byte / 4] >> (8 * (byte % 4)));
    return Mul(FloatFromHalf(static_cast<uint16_t>(factor >> (16 * half))),
               static_cast<float>(integer));
  }
}

// A block is worked through in chunks of whole groups, at least four steps, so that only a chunk's
// integers and scales take registers; two steps where two row tiles of 8 bits and minima crowd each
// other. How it is cut changes no sum.
template <WeightFormat kFormat, int kRowTiles>
constexpr int ChunkSteps() {
  const int least = kFormat.bits == 8 && kFormat.HasMinimum() && kRowTiles > 1 ? 2 : 4;
  return kFormat.StepsPerGroup() > least ? kFormat.StepsPerGroup() : least;
}

// The scales of a chunk as f32, of both rows of a lane.
template <WeightFormat kFormat, int kChunkSteps>
struct LaneScales {
  static constexpr int kGroups = kChunkSteps / kFormat.StepsPerGroup();
  float scale[kGroups][2];
  float minimum[kFormat.HasMinimum() ? kGroups : 1][2];
};

template <WeightFormat kFormat, int kChunkSteps>
INFERD_HD void ReadScales(const LaneRecord<kFormat>& record,
                          int chunk,
                          LaneScales<kFormat, kChunkSteps>& to) {
  constexpr int kGroups = LaneScales<kFormat, kChunkSteps>::kGroups;
  INFERD_UNROLL
  for (int i = 0; i < kGroups; ++i) {
    const int g = chunk * kGroups + i;
    INFERD_UNROLL
    for (int half = 0; half < 2; ++half) {
      to.scale[i][half] = ScaleValue<kFormat>(record.scale, record.d, g, half);
      if constexpr (kFormat.HasMinimum()) {
        const float minimum = ScaleValue<kFormat>(record.minimum, record.d_minimum, g, half);
        to.minimum[i][half] = kFormat.scale == ScaleKind::kSuperBlock ? -minimum : minimum;
      }
    }
  }
}

// Sums of `kRowTiles` x `kTokenTiles` tiles of 16 rows and 8 tokens.
template <class Warp, int kRowTiles, int kTokenTiles>
struct WarpSums {
  typename Warp::template PerLane<FragmentC> tile[kRowTiles][kTokenTiles];
};

template <class Warp, int kRowTiles, int kTokenTiles>
INFERD_HD void ClearSums(Warp& warp, WarpSums<Warp, kRowTiles, kTokenTiles>& sums) {
  warp.Each([&](int /*lane*/, int slot) {
    INFERD_UNROLL
    for (int i = 0; i < kRowTiles; ++i) {
      INFERD_UNROLL
      for (int j = 0; j < kTokenTiles; ++j) {
        sums.tile[i][j][slot] = FragmentC{};
      }
    }
  });
}

// P = fma(scale, T, P), then P = fma(minimum, X, P), for one group and one tile.
template <WeightFormat kFormat, class Warp, class Scales, class Sums>
INFERD_HD void ApplyScale(
    Warp& warp, const Scales& scales, int g, const Sums& t, const Sums& x, Sums& p) {
  warp.Each([&](int /*lane*/, int slot) {
    INFERD_UNROLL
    for (int r = 0; r < 4; ++r) {
      p[slot].r[r] = Fma(scales[slot].scale[g][r / 2], t[slot].r[r], p[slot].r[r]);
      if constexpr (kFormat.HasMinimum()) {
        p[slot].r[r] = Fma(scales[slot].minimum[g][r / 2], x[slot].r[r], p[slot].r[r]);
      }
    }
  });
}

// The integers and scales of a chunk of one row tile.
template <WeightFormat kFormat, int kChunkSteps, class Warp>
struct ChunkWeights {
  typename Warp::template PerLane<FragmentA> a[kChunkSteps];
  typename Warp::template PerLane<LaneScales<kFormat, kChunkSteps>> scales;
};

template <WeightFormat kFormat, int kChunkSteps, class Warp>
INFERD_HD void UnpackChunk(Warp& warp,
                           const typename Warp::template PerLane<LaneRecord<kFormat>>& record,
                           int chunk,
                           ChunkWeights<kFormat, kChunkSteps, Warp>& to) {
  warp.Each([&](int /*lane*/, int slot) {
    INFERD_UNROLL
    for (int step = 0; step < kChunkSteps; ++step) {
      INFERD_UNROLL
      for (int r = 0; r < 4; ++r) {
        to.a[step][slot].r[r] = IntegerPair<kFormat>(record[slot], chunk * kChunkSteps + step, r);
      }
    }
    ReadScales<kFormat, kChunkSteps>(record[slot], chunk, to.scales[slot]);
  });
}

// A chunk of the row tiles times one token tile: `tokens` is the first byte of its block.
template <WeightFormat kFormat, int kChunkSteps, int kRowTiles, int kTokenTiles, class Warp>
INFERD_HD void MultiplyChunk(Warp& warp,
                             const ChunkWeights<kFormat, kChunkSteps, Warp> (&weights)[kRowTiles],
                             int chunk,
                             const uint8_t* tokens,
                             int token_tile,
                             WarpSums<Warp, kRowTiles, kTokenTiles>& sums) {
  using Sum = typename Warp::template PerLane<FragmentC>;
  constexpr int kStepsPerGroup = kFormat.StepsPerGroup();
  typename Warp::template PerLane<FragmentA> ones;
  warp.Each([&](int /*lane*/, int slot) {
    ones[slot] = {{kBfloatOnes, kBfloatOnes, kBfloatOnes, kBfloatOnes}};
  });
  Sum t[kRowTiles];
  Sum sum_x{};
  INFERD_UNROLL
  for (int pair = 0; pair < kChunkSteps / 2; ++pair) {
    typename Warp::template PerLane<FragmentB> b[2];
    warp.Each([&](int lane, int slot) {
      uint32_t words[4];
      const int at = chunk * kChunkSteps / 2 + pair;
      LoadPair(tokens + at * kPairBytes + lane * 16, words);
      b[0][slot] = {{words[0], words[1]}};
      b[1][slot] = {{words[2], words[3]}};
    });
    INFERD_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int step = 2 * pair + half;
      const bool first = step % kStepsPerGroup == 0;
      const bool last = step % kStepsPerGroup == kStepsPerGroup - 1;
      if (first) {
        sum_x = Sum{};
      }
      if constexpr (kFormat.HasMinimum()) {
        warp.Mma(ones, b[half], sum_x);
      }
      INFERD_UNROLL
      for (int i = 0; i < kRowTiles; ++i) {
        if (first) {
          t[i] = Sum{};
        }
        warp.Mma(weights[i].a[step], b[half], t[i]);
        if (last) {
          ApplyScale<kFormat>(warp,
                              weights[i].scales,
                              step / kStepsPerGroup,
                              t[i],
                              sum_x,
                              sums.tile[i][token_tile]);
        }
      }
    }
  }
}

// One block of K: the records of the warp's row tiles times the activations of its token tiles.
//   x            first byte of the block of the warp's first token tile
//   tile_stride  bytes from a token tile to the next
//   last_tile    the last token tile that exists; those past it repeat it and are dropped later
template <WeightFormat kFormat, int kRowTiles, int kTokenTiles, class Warp>
INFERD_HD void MultiplyBlock(
    Warp& warp,
    const typename Warp::template PerLane<LaneRecord<kFormat>> (&records)[kRowTiles],
    const uint8_t* x,
    int64_t tile_stride,
    int last_tile,
    WarpSums<Warp, kRowTiles, kTokenTiles>& sums) {
  constexpr int kChunkSteps = ChunkSteps<kFormat, kRowTiles>();
  INFERD_UNROLL
  for (int chunk = 0; chunk < kStepsPerBlock / kChunkSteps; ++chunk) {
    ChunkWeights<kFormat, kChunkSteps, Warp> weights[kRowTiles];
    INFERD_UNROLL
    for (int i = 0; i < kRowTiles; ++i) {
      UnpackChunk<kFormat, kChunkSteps>(warp, records[i], chunk, weights[i]);
    }
    INFERD_UNROLL
    for (int j = 0; j < kTokenTiles; ++j) {
      const uint8_t* tokens = x + (j < last_tile ? j : last_tile) * tile_stride;
      MultiplyChunk<kFormat, kChunkSteps>(warp, weights, chunk, tokens, j, sums);
    }
  }
}

// The end of one lane's four outputs of a tile: rows r and r + 8 of `tile`, two tokens.
INFERD_HD void FinishTile(
    const QgemmArgs& args, int64_t tile, int64_t first_token, int lane, const FragmentC& sums) {
  const bool gated = args.epilogue == Epilogue::kSwiGlu || args.epilogue == Epilogue::kGeGlu;
  const int64_t row = tile * kTileRows + lane / 4;
  INFERD_UNROLL
  for (int c = 0; c < 2; ++c) {
    const int64_t token = first_token + lane % 4 * 2 + c;
    if (token >= args.end_token) {
      continue;
    }
    float value[2];
    INFERD_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int64_t n = row + 8 * half;
      value[half] = sums.r[2 * half + c];
      if (args.bias != nullptr && n < args.n) {
        value[half] = Add(value[half], args.bias[n]);
      }
    }
    if (gated) {
      const int64_t column = tile * 8 + lane / 4;
      const float act = args.epilogue == Epilogue::kSwiGlu ? Silu(value[0]) : GeluTanh(value[0]);
      if (row + 8 < args.n) {
        static_cast<uint16_t*>(args.y)[ActivationIndex(args.n / 2, token, column)] =
            BfloatFromFloat(Mul(act, value[1]));
      }
      continue;
    }
    INFERD_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int64_t n = row + 8 * half;
      if (n >= args.n) {
        continue;
      }
      const int64_t at = token * args.n + n;
      if (args.epilogue == Epilogue::kStoreBfloat) {
        static_cast<uint16_t*>(args.y)[at] = BfloatFromFloat(value[half]);
      } else if (args.epilogue == Epilogue::kResidual) {
        static_cast<float*>(args.y)[at] = Add(args.residual[at], value[half]);
      } else {
        static_cast<float*>(args.y)[at] = value[half];
      }
    }
  }
}

}  // namespace inferd::cuda_internal
