// Which element of which matrix each lane of a warp holds for mma.sync.m16n8k16 with bf16 inputs
// and f32 sums, D = A * B + C (PTX ISA, "Matrix Fragments for mma.m16n8k16"). Here A [16, 16] is a
// weight tile, B [16, 8] activations (a token a column), C and D [16, 8]. Host and device; no absl.
#pragma once

#include "cuda/host_device.h"

namespace inferd::cuda_internal {

inline constexpr int kWarpLanes = 32;

struct MatrixPlace {
  int row = 0;
  int col = 0;
};

// Four registers of two bf16 each, the lower column in the low half: register r, half h.
constexpr MatrixPlace PlaceInA(int lane, int r, int h) {
  return {.row = lane / 4 + 8 * (r % 2), .col = lane % 4 * 2 + h + 8 * (r / 2)};
}
// Two registers of two bf16; `row` runs along K, `col` is the token.
constexpr MatrixPlace PlaceInB(int lane, int r, int h) {
  return {.row = lane % 4 * 2 + h + 8 * r, .col = lane / 4};
}
// Four f32.
constexpr MatrixPlace PlaceInC(int lane, int r) {
  return {.row = lane / 4 + 8 * (r / 2), .col = lane % 4 * 2 + r % 2};
}

// One lane's registers.
struct FragmentA {
  uint32_t r[4];
};
struct FragmentB {
  uint32_t r[2];
};
struct FragmentC {
  float r[4];
};

// A register of kLanes lanes: one on the card, where each thread is its own lane, 32 on the host.
template <class T, int kLanes>
struct Lanes {
  T lane[kLanes];
  INFERD_HD T& operator[](int i) { return lane[i]; }
  INFERD_HD const T& operator[](int i) const { return lane[i]; }
};

}  // namespace inferd::cuda_internal
