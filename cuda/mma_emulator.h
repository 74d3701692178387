// A tensor core's arithmetic, bit for bit, on the host: what mma.sync.m16n8k16 (bf16 in, f32 sums)
// gives on each class of card, so that kernels can be checked where there is none.
//
// One output is a fused sum. The terms are C and the products of the bf16 pairs, each with the
// exponent of its factors' sum (a product of significands is not normalised). All are aligned to
// the largest exponent and cut off, toward zero, at F fractional bits; the cut terms are added
// exactly; the sum is rounded toward zero to f32. kAmpere does this for k 0-7 and again, with the
// first sum as its C, for k 8-15, F = 24; kHopper once for k 0-15, F = 25.
// Source: Xie et al., "MMA-Sim" (arXiv 2511.10909), whose model was validated on cards; ours has
// not met one yet. What it leaves open, and so may differ on a card: the sign of a sum of zeros
// (here +0), and exponents of terms near 2^-126 when larger terms are zero (a zero counts as
// exponent -126 here).
#pragma once

#include <cstdint>
#include <span>

#include "cuda/contract.h"
#include "cuda/fragments.h"

namespace inferd::cuda_internal {

// One fused sum of at most 16 products; `a` and `b` are bf16 bits. A NaN is 0x7fffffff.
float FusedDotAdd(TensorCoreClass core,
                  std::span<const uint16_t> a,
                  std::span<const uint16_t> b,
                  float c);

// The whole of one output of the instruction: 16 products, in one or two fused sums.
float EmulatedDot16(TensorCoreClass core,
                    std::span<const uint16_t, 16> a,
                    std::span<const uint16_t, 16> b,
                    float c);

// The instruction for a warp: each lane's registers in, each lane's registers out, in place of C.
void EmulatedMma(TensorCoreClass core,
                 const Lanes<FragmentA, kWarpLanes>& a,
                 const Lanes<FragmentB, kWarpLanes>& b,
                 Lanes<FragmentC, kWarpLanes>& c);

}  // namespace inferd::cuda_internal
