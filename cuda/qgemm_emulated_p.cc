#include "base/check.h"
#include "cuda/qgemm_emulated_cta.h"
#include "cuda/qgemm_p.h"

namespace inferd::cuda_internal {
namespace {

template <WeightFormat kFormat>
void RunP(QgemmArgs args, const EmulationOptions& options) {
  using Body = QgemmP<kFormat, EmulatedWarp>;
  SplitMix64 random(options.order_seed);
  const bool shuffled = options.order_seed != 0;
  const int64_t groups = Body::kShape.TokenGroups(args.end_token - args.first_token);
  EmulatedWarp warp(options.core);
  for (const int64_t cta : Order(PrefillRowGroups(args.n) * groups, random, shuffled)) {
    Cta<Body> warps(random, shuffled);
    const int64_t token_group = cta % groups;
    warps.Start(args, warp, cta / groups, token_group);
    std::vector<uint8_t> stage(Body::kShape.StageBytes());
    warps.Phase([](Body& body) { body.Load(0); });
    for (int64_t block = 0; block < NumBlocks(args.k); ++block) {
      for (int unit = 0; unit < Body::kShape.StageBytes() / 16; ++unit) {
        std::memcpy(stage.data() + 16 * unit,
                    PrefillStageSource(args, Body::kShape, token_group, block, unit),
                    16);
      }
      warps.Phase([&](Body& body) { body.Multiply(stage.data(), block + 1); });
    }
    warps.Phase([](Body& body) { body.Finish(); });
  }
}

}  // namespace

void EmulateQgemmP(const WeightFormat& format, QgemmArgs args, const EmulationOptions& options) {
#define QGEMM_FORMAT(name, bits_, group_, zero_, scale_)                                      \
  {                                                                                           \
    constexpr WeightFormat kFormat{                                                           \
        .bits = bits_, .group = group_, .zero = ZeroKind::zero_, .scale = ScaleKind::scale_}; \
    if (format == kFormat) {                                                                  \
      return RunP<kFormat>(args, options);                                                    \
    }                                                                                         \
  }
#include "cuda/qgemm_formats.inc"
#undef QGEMM_FORMAT
  CHECK(false && "no such kernel");
}

}  // namespace inferd::cuda_internal
