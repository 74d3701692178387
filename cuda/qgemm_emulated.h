// The kernels' own bodies (qgemm_d.h, qgemm_p.h) run on the host, with 32-lane warps in arrays and
// the emulated tensor core: for tests, and for the hashes that a card has to reproduce.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/contract.h"
#include "cuda/mma_emulator.h"
#include "cuda/qgemm_args.h"
#include "cuda/qgemm_d.h"
#include "cuda/weight_layout.h"

namespace inferd::cuda_internal {

// A warp whose lanes take turns.
class EmulatedWarp {
 public:
  template <class T>
  using PerLane = Lanes<T, kWarpLanes>;

  explicit EmulatedWarp(TensorCoreClass core) : core_(core) {}

  template <class F>
  void Each(F f) {
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      f(lane, lane);
    }
  }
  void Mma(const PerLane<FragmentA>& a, const PerLane<FragmentB>& b, PerLane<FragmentC>& c) {
    EmulatedMma(core_, a, b, c);
  }

 private:
  TensorCoreClass core_;
};

// How an emulated launch differs from a card's: never in its results.
struct EmulationOptions {
  TensorCoreClass core = TensorCoreClass::kHopper;
  uint64_t order_seed = 0;  // of the CTAs and of the warps in a phase; 0: ascending
};

// One pass, end_token - first_token <= 8 * shape.token_tiles. args.workspace and tickets are not
// used: the emulation has its own. CHECKs that the format and the shape are instantiated.
void EmulateQgemmD(const WeightFormat& format,
                   const QgemmDShape& shape,
                   QgemmArgs args,
                   const EmulationOptions& options);
// All tokens, in passes of up to 64, in the shapes that the launcher takes.
void EmulateQgemmD(const WeightFormat& format, QgemmArgs args, const EmulationOptions& options);
void EmulateQgemmP(const WeightFormat& format, QgemmArgs args, const EmulationOptions& options);

// Whether a format has the shapes for more than 8 tokens here: compiling them all is what costs,
// and what more tokens change does not know the format.
constexpr bool EmulatesEveryShape(const WeightFormat& format) {
  return format == WeightFormat{.bits = 4,
                                .group = 32,
                                .zero = ZeroKind::kMinimum,
                                .scale = ScaleKind::kSuperBlock} ||
         format == WeightFormat{.bits = 4, .group = 128, .zero = ZeroKind::kZeroPoint};
}

// The formats of qgemm_formats.inc.
std::vector<WeightFormat> KernelFormats();

}  // namespace inferd::cuda_internal
