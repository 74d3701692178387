// The decode kernels: every format of qgemm_formats.inc in the four shapes of QgemmDShapeFor.
#include <algorithm>

#include "cuda/qgemm_d.h"
#include "cuda/qgemm_device.cuh"
#include "cuda/qgemm_launch.h"

namespace inferd::cuda_internal {
namespace {

// True in every thread of the CTA of a row group that arrives last; its reads then see the nodes of
// all. The ticket is back at zero.
__device__ bool ArrivesLast(uint32_t* ticket, uint32_t arrivals) {
  __shared__ uint32_t order;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    order = atomicInc(ticket, arrivals - 1);  // wraps to zero
  }
  __syncthreads();
  const bool last = order == arrivals - 1;
  if (last) {
    __threadfence();
  }
  return last;
}

template <uint32_t kFormatCode, int kTokenTiles, int kRowTiles, int kOwn>
__global__ void __launch_bounds__(kCtaThreads,
                                  kTokenTiles <= 2   ? 2
                                  : kTokenTiles == 4 ? 1
                                                     : 0) QgemmDKernel(const QgemmArgs args) {
  constexpr WeightFormat kFormat = FormatOf(kFormatCode);
  constexpr QgemmDShape kShape{.token_tiles = kTokenTiles, .row_tiles = kRowTiles, .own = kOwn};
  using Body = QgemmD<kFormat, kShape, DeviceWarp>;
  __shared__ float shared[kShape.own > 1 ? kShape.SharedFloats() : 1];
  DeviceWarp warp;
  const int warp_index = static_cast<int>(threadIdx.x) / kWarpLanes;
  const auto row_group = static_cast<int64_t>(blockIdx.x);
  Body body(args, warp, warp_index, row_group, static_cast<int>(blockIdx.y));
  body.SumSlice();
#pragma unroll
  for (int level = 0; level < Body::kLevels; ++level) {
    body.PutDown(level, shared);
    __syncthreads();
    body.TakeUp(level, shared);
    if (level + 1 < Body::kLevels) {
      __syncthreads();
    }
  }
  if constexpr (kShape.Splits() > 1) {
    body.StoreNode();
    if (!ArrivesLast(args.tickets + row_group, kShape.Splits())) {
      return;
    }
    body.FoldNodes();
  }
  body.Finish();
}

template <WeightFormat kFormat, QgemmDShape kShape>
cudaError_t Launch(const QgemmArgs& args, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(kShape.RowGroups(args.n)), kShape.Splits());
  QgemmDKernel<CodeOf(kFormat), kShape.token_tiles, kShape.row_tiles, kShape.own>
      <<<grid, kCtaThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

template <WeightFormat kFormat>
cudaError_t LaunchPass(const QgemmArgs& args, cudaStream_t stream) {
  const int64_t tokens = args.end_token - args.first_token;
  if (tokens <= 8) {
    return Launch<kFormat, QgemmDShapeFor(8)>(args, stream);
  }
  if (tokens <= 16) {
    return Launch<kFormat, QgemmDShapeFor(16)>(args, stream);
  }
  if (tokens <= 32) {
    return Launch<kFormat, QgemmDShapeFor(32)>(args, stream);
  }
  return Launch<kFormat, QgemmDShapeFor(64)>(args, stream);
}

using PassFunction = cudaError_t (*)(const QgemmArgs&, cudaStream_t);

PassFunction FindPass(const WeightFormat& format) {
#define QGEMM_FORMAT(name, bits_, group_, zero_, scale_)                                      \
  {                                                                                           \
    constexpr WeightFormat kFormat{                                                           \
        .bits = bits_, .group = group_, .zero = ZeroKind::zero_, .scale = ScaleKind::scale_}; \
    if (format == kFormat) {                                                                  \
      return LaunchPass<kFormat>;                                                             \
    }                                                                                         \
  }
#include "cuda/qgemm_formats.inc"
#undef QGEMM_FORMAT
  return nullptr;
}

}  // namespace

QgemmScratch QgemmScratchFor(int64_t n, int64_t tokens) {
  QgemmScratch scratch;
  for (const int64_t m : {8, 16, 32, 64}) {
    const QgemmDShape shape = QgemmDShapeFor(m);
    scratch.workspace_bytes = std::max(scratch.workspace_bytes, 4 * shape.WorkspaceFloats(n));
    scratch.ticket_bytes = std::max(scratch.ticket_bytes, 4 * shape.RowGroups(n));
    if (m >= tokens) {
      break;
    }
  }
  return scratch;
}

cudaError_t LaunchQgemmD(const WeightFormat& format, QgemmArgs args, cudaStream_t stream) {
  const PassFunction pass = FindPass(format);
  if (pass == nullptr || args.first_token % kTileTokens != 0) {
    return cudaErrorInvalidValue;
  }
  const int64_t end = args.end_token;
  for (; args.first_token < end; args.first_token += kQgemmDTokensMax) {
    args.end_token = std::min<int64_t>(end, args.first_token + kQgemmDTokensMax);
    if (const cudaError_t error = pass(args, stream); error != cudaSuccess) {
      return error;
    }
  }
  return cudaSuccess;
}

}  // namespace inferd::cuda_internal
