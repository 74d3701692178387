// DeviceWarp: the card's side of qgemm_warp.h's policy. One thread is one lane.
#pragma once

#include "cuda/fragments.h"
#include "cuda/weight_layout.h"

namespace inferd::cuda_internal {

class DeviceWarp {
 public:
  template <class T>
  using PerLane = Lanes<T, 1>;

  __device__ __forceinline__ DeviceWarp() : lane_(static_cast<int>(threadIdx.x) % kWarpLanes) {}

  template <class F>
  __device__ __forceinline__ void Each(F f) {
    f(lane_, 0);
  }

  // mma.sync.m16n8k16, bf16 in, f32 sums: c += a * b.
  __device__ __forceinline__ void Mma(const PerLane<FragmentA>& a,
                                      const PerLane<FragmentB>& b,
                                      PerLane<FragmentC>& c) {
    const uint32_t* ar = a[0].r;
    const uint32_t* br = b[0].r;
    float* cr = c[0].r;
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(cr[0]), "+f"(cr[1]), "+f"(cr[2]), "+f"(cr[3])
        : "r"(ar[0]), "r"(ar[1]), "r"(ar[2]), "r"(ar[3]), "r"(br[0]), "r"(br[1]));
  }

 private:
  int lane_;
};

// nvcc 13.0 writes host code that does not compile for a kernel with a template argument of class
// type: kernels take the format as a number. tools/cuda_compile_gate.py reads it out of their
// names.
constexpr uint32_t CodeOf(const WeightFormat& format) {
  return static_cast<uint32_t>(format.bits) | static_cast<uint32_t>(format.group) << 8 |
         static_cast<uint32_t>(format.zero) << 16 | static_cast<uint32_t>(format.scale) << 20;
}
constexpr WeightFormat FormatOf(uint32_t code) {
  return {.bits = static_cast<int>(code & 0xffu),
          .group = static_cast<int>(code >> 8 & 0xffu),
          .zero = static_cast<ZeroKind>(code >> 16 & 0xfu),
          .scale = static_cast<ScaleKind>(code >> 20)};
}

inline constexpr int kCtaThreads = 8 * kWarpLanes;

}  // namespace inferd::cuda_internal
