// Random operands for kernels on a card, made without the rest of the project (there is no absl
// there): any codes are weights, only f16 fields have to be sane.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/half.h"
#include "base/random.h"
#include "cuda/activation_layout.h"
#include "cuda/weight_layout.h"

namespace inferd::cuda_internal {

// A bf16 of either sign with an exponent among `spread` around 0; now and then a zero.
inline uint16_t RandomBfloat(SplitMix64& random, int spread) {
  const auto exponent = static_cast<int>(random.Below(static_cast<uint64_t>(spread)));
  const double value = (random.Unit() + 1) * std::ldexp(1.0, exponent - spread / 2);
  const double sign = random.Below(2) == 0 ? 1 : -1;
  return random.Below(20) == 0 ? uint16_t{0} : FloatToBfloat(static_cast<float>(sign * value));
}

// A whole packed matrix: random bytes, then f16 fields between 0.001 and 0.02.
inline std::vector<uint8_t> RandomPackedWeights(const WeightFormat& format,
                                                int64_t n,
                                                int64_t k,
                                                uint64_t seed) {
  SplitMix64 random(seed);
  std::vector<uint8_t> bytes(static_cast<size_t>(NumTiles(n) * format.TileBytes(k)));
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(random.Next());
  }
  const auto put_halves = [&](int64_t at, int count) {
    for (int i = 0; i < count; ++i) {
      const uint16_t half = FloatToHalf(static_cast<float>(0.001 + 0.019 * random.Unit()));
      std::memcpy(bytes.data() + at + 2 * i, &half, 2);
    }
  };
  for (int64_t tile = 0; tile < NumTiles(n); ++tile) {
    const int64_t first = tile * format.TileBytes(k);
    if (format.scale == ScaleKind::kSuperBlock) {
      put_halves(first + format.FactorsAt(k),
                 static_cast<int>((format.TileBytes(k) - format.FactorsAt(k)) / 2));
      continue;
    }
    for (int64_t block = 0; block < NumBlocks(k); ++block) {
      const int64_t record = first + block * format.RecordBytes();
      put_halves(record + format.ScaleAt(), format.ScaleBytes() / 2);
      if (format.HasMinimum()) {
        put_halves(record + format.MinimumAt(), format.ScaleBytes() / 2);
      }
    }
  }
  return bytes;
}

// Activations of m tokens in their order in memory; tokens past the last are NaN.
inline std::vector<uint16_t> RandomPackedActivations(int64_t m, int64_t k, uint64_t seed) {
  SplitMix64 random(seed);
  std::vector<uint16_t> x(static_cast<size_t>(NumTokenTiles(m) * TokenTileBytes(k) / 2),
                          uint16_t{0x7fc0});
  for (int64_t token = 0; token < m; ++token) {
    for (int64_t column = 0; column < PadK(k); ++column) {
      x[static_cast<size_t>(ActivationIndex(k, token, column))] =
          column < k ? RandomBfloat(random, 6) : uint16_t{0};
    }
  }
  return x;
}

// Equal bits, or both NaN.
inline bool SameBits(const float* a, const float* b, int count) {
  for (int i = 0; i < count; ++i) {
    if (std::memcmp(a + i, b + i, 4) != 0 && !(std::isnan(a[i]) && std::isnan(b[i]))) {
      return false;
    }
  }
  return true;
}

}  // namespace inferd::cuda_internal
