#include "cuda/qgemm_emulated.h"

#include <algorithm>

#include "base/check.h"
#include "base/random.h"
#include "cuda/qgemm_emulated_cta.h"

namespace inferd::cuda_internal {
namespace {

template <WeightFormat kFormat, QgemmDShape kShape>
void RunD(QgemmArgs args, const EmulationOptions& options) {
  using Body = QgemmD<kFormat, kShape, EmulatedWarp>;
  SplitMix64 random(options.order_seed);
  const bool shuffled = options.order_seed != 0;
  const int64_t groups = kShape.RowGroups(args.n);
  std::vector<float> workspace(static_cast<size_t>(kShape.WorkspaceFloats(args.n)));
  std::vector<int> arrived(static_cast<size_t>(groups));
  args.workspace = workspace.data();
  EmulatedWarp warp(options.core);
  for (const int64_t cta : Order(groups * kShape.Splits(), random, shuffled)) {
    const int64_t group = cta / kShape.Splits();
    Cta<Body> warps(random, shuffled);
    warps.Start(args, warp, group, static_cast<int>(cta % kShape.Splits()));
    std::vector<float> shared(static_cast<size_t>(kShape.SharedFloats()));
    warps.Phase([](Body& body) { body.SumSlice(); });
    for (int level = 0; level < Body::kLevels; ++level) {
      warps.Phase([&](Body& body) { body.PutDown(level, shared.data()); });
      warps.Phase([&](Body& body) { body.TakeUp(level, shared.data()); });
    }
    if constexpr (kShape.Splits() > 1) {
      warps.Phase([](Body& body) { body.StoreNode(); });
      if (++arrived[static_cast<size_t>(group)] < kShape.Splits()) {
        continue;
      }
      warps.Phase([](Body& body) { body.FoldNodes(); });
    }
    warps.Phase([](Body& body) { body.Finish(); });
  }
}

using RunFunction = void (*)(QgemmArgs, const EmulationOptions&);
struct Kernel {
  WeightFormat format;
  QgemmDShape shape;
  RunFunction run;
};

constexpr QgemmDShape kLaunched[] = {
    QgemmDShapeFor(8), QgemmDShapeFor(16), QgemmDShapeFor(32), QgemmDShapeFor(64)};

template <WeightFormat kFormat>
void AddLaunched(std::vector<Kernel>& kernels) {
  kernels.push_back({kFormat, kLaunched[0], RunD<kFormat, kLaunched[0]>});
  if constexpr (EmulatesEveryShape(kFormat)) {
    kernels.push_back({kFormat, kLaunched[1], RunD<kFormat, kLaunched[1]>});
    kernels.push_back({kFormat, kLaunched[2], RunD<kFormat, kLaunched[2]>});
    kernels.push_back({kFormat, kLaunched[3], RunD<kFormat, kLaunched[3]>});
  }
}

// Other owners of the same slices, to show that ownership is free.
template <int kTokenTiles, int kRowTiles, int kOwn>
void AddOwner(std::vector<Kernel>& kernels) {
  constexpr WeightFormat kFormat{
      .bits = 4, .group = 32, .zero = ZeroKind::kMinimum, .scale = ScaleKind::kSuperBlock};
  constexpr QgemmDShape kShape{.token_tiles = kTokenTiles, .row_tiles = kRowTiles, .own = kOwn};
  kernels.push_back({kFormat, kShape, RunD<kFormat, kShape>});
}

std::vector<Kernel> MakeKernels() {
  std::vector<Kernel> kernels;
#define QGEMM_FORMAT(name, bits_, group_, zero_, scale_)                                     \
  AddLaunched<WeightFormat{                                                                  \
      .bits = bits_, .group = group_, .zero = ZeroKind::zero_, .scale = ScaleKind::scale_}>( \
      kernels);
#include "cuda/qgemm_formats.inc"
#undef QGEMM_FORMAT
  AddOwner<1, 1, 4>(kernels);
  AddOwner<1, 1, 1>(kernels);
  AddOwner<1, 2, 8>(kernels);
  AddOwner<8, 1, 8>(kernels);
  AddOwner<8, 1, 1>(kernels);
  return kernels;
}

const std::vector<Kernel>& Kernels() {
  static const std::vector<Kernel> kernels = MakeKernels();
  return kernels;
}

}  // namespace

void EmulateQgemmD(const WeightFormat& format,
                   const QgemmDShape& shape,
                   QgemmArgs args,
                   const EmulationOptions& options) {
  CHECK(args.first_token % kTileTokens == 0 && args.first_token < args.end_token);
  CHECK(args.end_token - args.first_token <= shape.token_tiles * kTileTokens);
  for (const Kernel& kernel : Kernels()) {
    if (kernel.format == format && kernel.shape == shape) {
      return kernel.run(args, options);
    }
  }
  CHECK(false && "no such kernel");
}

void EmulateQgemmD(const WeightFormat& format, QgemmArgs args, const EmulationOptions& options) {
  const int64_t end = args.end_token;
  for (; args.first_token < end; args.first_token += kQgemmDTokensMax) {
    args.end_token = std::min(end, args.first_token + kQgemmDTokensMax);
    EmulateQgemmD(format, QgemmDShapeFor(args.end_token - args.first_token), args, options);
  }
}

std::vector<WeightFormat> KernelFormats() {
  return {
#define QGEMM_FORMAT(name, bits_, group_, zero_, scale_) \
  WeightFormat{.bits = bits_, .group = group_, .zero = ZeroKind::zero_, .scale = ScaleKind::scale_},
#include "cuda/qgemm_formats.inc"
#undef QGEMM_FORMAT
  };
}

}  // namespace inferd::cuda_internal
