#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/half.h"
#include "base/random.h"
#include "model/gguf_writer.h"

namespace inferd {
namespace {

// How a format's blocks become random: all bits are drawn, then the f16 fields are set so that the
// values spread as wanted.
struct BlockRecipe {
  int scale_at = 0;     // where `d` lies
  int minimum_at = -1;  // where `m` or `dmin` lies
  // Standard deviation of the values over d, when every bit of the block is a fair coin.
  float spread = 1.0f;
  // m = minimum_ratio * d centres the values: minus the mean code, or plus it where dmin is
  // subtracted.
  float minimum_ratio = 0.0f;
  bool either_sign = false;  // d may be negative, as files have it
};

BlockRecipe RecipeOf(QuantFormat format) {
  switch (format) {
    case QuantFormat::kQ4_0:
      return {.scale_at = 0, .spread = 4.6f, .either_sign = true};
    case QuantFormat::kQ4_1:
      return {.scale_at = 0, .minimum_at = 2, .spread = 4.6f, .minimum_ratio = -7.5f};
    case QuantFormat::kQ5_0:
      return {.scale_at = 0, .spread = 9.2f, .either_sign = true};
    case QuantFormat::kQ5_1:
      return {.scale_at = 0, .minimum_at = 2, .spread = 9.2f, .minimum_ratio = -15.5f};
    case QuantFormat::kQ8_0:
      return {.scale_at = 0, .spread = 73.9f};
    case QuantFormat::kQ2_K:
      return {.scale_at = 80, .minimum_at = 82, .spread = 13.9f, .minimum_ratio = 1.5f};
    case QuantFormat::kQ3_K:
      return {.scale_at = 108, .spread = 42.4f, .either_sign = true};
    case QuantFormat::kQ4_K:
      return {.scale_at = 0, .minimum_at = 2, .spread = 258.0f, .minimum_ratio = 7.5f};
    case QuantFormat::kQ5_K:
      return {.scale_at = 0, .minimum_at = 2, .spread = 524.0f, .minimum_ratio = 15.5f};
    case QuantFormat::kQ6_K:
      return {.scale_at = 208, .spread = 1367.0f, .either_sign = true};
    case QuantFormat::kF32:
    case QuantFormat::kF16:
    case QuantFormat::kBF16:
      break;
  }
  return {};
}

void Put(std::byte* at, uint16_t value) { std::memcpy(at, &value, sizeof(value)); }

void FillBits(std::span<std::byte> bytes, SplitMix64& random) {
  for (size_t i = 0; i < bytes.size(); i += sizeof(uint64_t)) {
    const uint64_t bits = random.Next();
    std::memcpy(&bytes[i], &bits, std::min(sizeof(bits), bytes.size() - i));
  }
}

void FillQuantized(QuantFormat format,
                   const RandomWeights& weights,
                   SplitMix64& random,
                   std::span<std::byte> blocks) {
  const BlockRecipe recipe = RecipeOf(format);
  const auto block_bytes = static_cast<size_t>(Info(format).block_bytes);
  FillBits(blocks, random);
  for (size_t at = 0; at < blocks.size(); at += block_bytes) {
    // 0.75 to 1.25 of the wanted scale.
    const uint64_t bits = random.Next();
    const float factor = 0.75f + 0.5f * static_cast<float>(bits >> 40) * 0x1p-24f;
    const float sign = recipe.either_sign && (bits & 1) != 0 ? -1.0f : 1.0f;
    const float d = HalfToFloat(FloatToHalf(sign * factor * weights.stddev / recipe.spread));
    Put(&blocks[at + static_cast<size_t>(recipe.scale_at)], FloatToHalf(d));
    if (recipe.minimum_at >= 0) {
      Put(&blocks[at + static_cast<size_t>(recipe.minimum_at)],
          FloatToHalf(d * recipe.minimum_ratio));
    }
  }
}

void FillFloats(QuantFormat format,
                const RandomWeights& weights,
                SplitMix64& random,
                std::span<std::byte> blocks) {
  const auto value_bytes = static_cast<size_t>(Info(format).block_bytes);
  const float half_width = weights.stddev * 1.7320508f;  // of a uniform distribution
  for (size_t at = 0; at < blocks.size(); at += value_bytes) {
    const float unit = static_cast<float>(random.Next() >> 40) * 0x1p-23f - 1.0f;
    const float value = weights.mean + unit * half_width;
    if (format == QuantFormat::kF32) {
      std::memcpy(&blocks[at], &value, sizeof(value));
    } else {
      Put(&blocks[at], format == QuantFormat::kF16 ? FloatToHalf(value) : FloatToBfloat(value));
    }
  }
}

}  // namespace

void FillRandomBlocks(QuantFormat format,
                      const RandomWeights& weights,
                      std::span<std::byte> blocks) {
  CHECK(blocks.size() % static_cast<size_t>(Info(format).block_bytes) == 0);
  SplitMix64 random(weights.seed);
  if (Info(format).block_values == 1) {
    FillFloats(format, weights, random, blocks);
  } else {
    FillQuantized(format, weights, random, blocks);
  }
}

}  // namespace inferd
