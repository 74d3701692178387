// The prefill kernels: every format of qgemm_formats.inc. Activations are copied to shared memory
// two blocks ahead (cp.async), weights to registers one block ahead.
#include "cuda/qgemm_device.cuh"
#include "cuda/qgemm_launch.h"
#include "cuda/qgemm_p.h"

namespace inferd::cuda_internal {
namespace {

constexpr int kStages = 3;  // at most 96 KiB: below the 99 KiB of sm_86, 89 and 120

template <WeightFormat kFormat>
constexpr int kSharedBytes = kStages * PrefillShapeOf(kFormat).StageBytes();

__device__ __forceinline__ void CopyAsync16(void* to, const void* from) {
  const auto shared = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(from) : "memory");
}
__device__ __forceinline__ void CommitCopies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits until at most kPending of the groups are still on their way.
template <int kPending>
__device__ __forceinline__ void AwaitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

template <PrefillShape kShape>
__device__ __forceinline__ void CopyStage(const QgemmArgs& args,
                                          int64_t token_group,
                                          int64_t block,
                                          uint8_t* shared) {
  uint8_t* stage = shared + block % kStages * kShape.StageBytes();
#pragma unroll
  for (int i = 0; i < kShape.StageBytes() / 16 / kCtaThreads; ++i) {
    const int unit = i * kCtaThreads + static_cast<int>(threadIdx.x);
    CopyAsync16(stage + 16 * unit, PrefillStageSource(args, kShape, token_group, block, unit));
  }
}

template <uint32_t kFormatCode>
__global__ void __launch_bounds__(kCtaThreads) QgemmPKernel(const QgemmArgs args) {
  constexpr WeightFormat kFormat = FormatOf(kFormatCode);
  constexpr PrefillShape kShape = PrefillShapeOf(kFormat);
  static_assert(kSharedBytes<kFormat> <= 99 * 1024);
  extern __shared__ __align__(128) uint8_t shared[];
  DeviceWarp warp;
  const auto token_group = static_cast<int64_t>(blockIdx.y);
  QgemmP<kFormat, DeviceWarp> body(
      args, warp, static_cast<int>(threadIdx.x) / kWarpLanes, blockIdx.x, token_group);
  const int64_t blocks = NumBlocks(args.k);
#pragma unroll
  for (int ahead = 0; ahead < kStages - 1; ++ahead) {
    if (ahead < blocks) {
      CopyStage<kShape>(args, token_group, ahead, shared);
    }
    CommitCopies();  // an empty group counts, too
  }
  body.Load(0);
  for (int64_t block = 0; block < blocks; ++block) {
    AwaitCopies<kStages - 2>();
    __syncthreads();  // this block has come; nobody reads the stage that is filled next
    if (block + kStages - 1 < blocks) {
      CopyStage<kShape>(args, token_group, block + kStages - 1, shared);
    }
    CommitCopies();
    body.Multiply(shared + block % kStages * kShape.StageBytes(), block + 1);
  }
  body.Finish();
}

template <WeightFormat kFormat>
cudaError_t Launch(const QgemmArgs& args, cudaStream_t stream) {
  const cudaError_t error = cudaFuncSetAttribute(QgemmPKernel<CodeOf(kFormat)>,
                                                 cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                 kSharedBytes<kFormat>);
  if (error != cudaSuccess) {
    return error;
  }
  const dim3 grid(static_cast<unsigned>(PrefillRowGroups(args.n)),
                  static_cast<unsigned>(
                      PrefillShapeOf(kFormat).TokenGroups(args.end_token - args.first_token)));
  QgemmPKernel<CodeOf(kFormat)><<<grid, kCtaThreads, kSharedBytes<kFormat>, stream>>>(args);
  return cudaGetLastError();
}

}  // namespace

cudaError_t LaunchQgemmP(const WeightFormat& format, const QgemmArgs& args, cudaStream_t stream) {
#define QGEMM_FORMAT(name, bits_, group_, zero_, scale_)                                      \
  {                                                                                           \
    constexpr WeightFormat kFormat{                                                           \
        .bits = bits_, .group = group_, .zero = ZeroKind::zero_, .scale = ScaleKind::scale_}; \
    if (format == kFormat) {                                                                  \
      return Launch<kFormat>(args, stream);                                                   \
    }                                                                                         \
  }
#include "cuda/qgemm_formats.inc"
#undef QGEMM_FORMAT
  return cudaErrorInvalidValue;
}

}  // namespace inferd::cuda_internal
