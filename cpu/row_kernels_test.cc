// RMSNorm, rope and the KV append: against plain double-precision code, and the same bits on every
// instruction set, for sizes that are no multiple of the lanes.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/half.h"
#include "cpu/cpu_kernels.h"
#include "gtest/gtest.h"

namespace inferd {
namespace {

std::vector<CpuIsa> SupportedIsas() {
  std::vector<CpuIsa> isas;
  for (const CpuIsa isa : {CpuIsa::kScalar, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
    if (IsSupported(isa)) {
      isas.push_back(isa);
    }
  }
  return isas;
}

std::vector<float> Random(size_t n, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) {
    value = normal(engine);
  }
  return values;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(RowKernels, RmsNorm) {
  for (const int32_t n : {1, 2, 15, 16, 17, 31, 64, 100, 576, 640, 4095}) {
    const auto size = static_cast<size_t>(n);
    const std::vector<float> x = Random(size, 1);
    const std::vector<float> weight = Random(size, 2);
    const std::vector<float> residual = Random(size, 3);
    double squares = 0;
    for (const float value : x) {
      squares += static_cast<double>(value) * value;
    }
    const double scale = 1.0 / std::sqrt(squares / n + 1e-5);
    std::vector<float> first;
    for (const CpuIsa isa : SupportedIsas()) {
      std::vector<float> out(size);
      KernelsFor(isa).rms_norm(x.data(), weight.data(), 1e-5f, nullptr, out.data(), n);
      for (size_t i = 0; i < size; ++i) {
        ASSERT_NEAR(out[i], x[i] * scale * weight[i], 2e-6 * std::abs(out[i]) + 1e-9);
      }
      std::vector<float> in_place = x;
      KernelsFor(isa).rms_norm(
          in_place.data(), weight.data(), 1e-5f, residual.data(), in_place.data(), n);
      for (size_t i = 0; i < size; ++i) {
        ASSERT_EQ(in_place[i], residual[i] + out[i]);
      }
      if (first.empty()) {
        first = out;
      }
      EXPECT_TRUE(SameBits(out, first)) << Name(isa) << " n " << n;
    }
  }
}

TEST(RowKernels, Rope) {
  for (const bool interleaved : {false, true}) {
    for (const int32_t half : {1, 2, 5, 15, 16, 17, 32, 40, 48, 64, 128}) {
      const auto size = static_cast<size_t>(2 * half);
      std::vector<float> head = Random(size + 4, 4);  // four values beyond stay as they are
      std::vector<float> cosines;
      std::vector<float> sines;
      for (int32_t i = 0; i < half; ++i) {
        cosines.push_back(std::cos(0.37f * static_cast<float>(i + 1)));
        sines.push_back(std::sin(0.37f * static_cast<float>(i + 1)));
      }
      std::vector<float> first;
      for (const CpuIsa isa : SupportedIsas()) {
        std::vector<float> out = head;
        const CpuKernels& kernels = KernelsFor(isa);
        (interleaved ? kernels.rope_interleaved : kernels.rope_halves)(
            out.data(), cosines.data(), sines.data(), half);
        for (int32_t i = 0; i < half; ++i) {
          const auto a = static_cast<size_t>(interleaved ? 2 * i : i);
          const auto b = static_cast<size_t>(interleaved ? 2 * i + 1 : i + half);
          const auto c = static_cast<double>(cosines[static_cast<size_t>(i)]);
          const auto s = static_cast<double>(sines[static_cast<size_t>(i)]);
          ASSERT_NEAR(out[a], head[a] * c - head[b] * s, 1e-6);
          ASSERT_NEAR(out[b], head[a] * s + head[b] * c, 1e-6);
        }
        for (size_t i = size; i < size + 4; ++i) {
          ASSERT_EQ(out[i], head[i]);
        }
        if (first.empty()) {
          first = out;
        }
        EXPECT_TRUE(SameBits(out, first)) << Name(isa) << " half " << half;
      }
    }
  }
}

TEST(RowKernels, AppendStoresRoundedAndFinite) {
  constexpr uint16_t kUntouched = 0x1234;
  for (const int32_t dim : {1, 6, 16, 24, 64, 80}) {
    std::vector<float> row = Random(static_cast<size_t>(dim), 5);
    row[0] = 1e6f;  // saturates
    if (dim > 2) {
      row[1] = -std::numeric_limits<float>::infinity();
      row[2] = 3e-8f;  // a subnormal half
    }
    for (const CpuIsa isa : SupportedIsas()) {
      const int32_t slot = 37;
      std::vector<uint16_t> keys(static_cast<size_t>(dim * kKvBlock), kUntouched);
      std::vector<uint16_t> values(keys.size(), kUntouched);
      KernelsFor(isa).append_key(row.data(), dim, slot, keys.data());
      KernelsFor(isa).append_value(row.data(), dim, slot, values.data());
      for (int32_t d = 0; d < dim; ++d) {
        const float clamped =
            std::fmin(std::fmax(row[static_cast<size_t>(d)], -65504.0f), 65504.0f);
        for (int32_t t = 0; t < kKvBlock; ++t) {
          const uint16_t want = t == slot ? FloatToHalf(clamped) : kUntouched;
          ASSERT_EQ(keys[static_cast<size_t>(d * kKvBlock + t)], want) << Name(isa);
          ASSERT_EQ(values[static_cast<size_t>(t * dim + d)], want) << Name(isa);
        }
      }
    }
  }
}

}  // namespace
}  // namespace inferd
