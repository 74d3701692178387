// Launching the quantised linear ops. Plain CUDA: no absl here.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/qgemm_args.h"
#include "cuda/weight_layout.h"

namespace inferd::cuda_internal {

// What LaunchQgemmD needs beside the arguments, for passes of up to `tokens`: the largest over the
// shapes that it may take.
struct QgemmScratch {
  int64_t workspace_bytes = 0;
  int64_t ticket_bytes = 0;  // zeroed once
};
QgemmScratch QgemmScratchFor(int64_t n, int64_t tokens);

// Class D (qgemm_d.h): every token of [first_token, end_token), in passes of up to 64 that share
// the scratch, in order on `stream`. cudaErrorInvalidValue for a format without kernels; else
// what the launch says.
cudaError_t LaunchQgemmD(const WeightFormat& format, QgemmArgs args, cudaStream_t stream);

// Class P (qgemm_p.h).
cudaError_t LaunchQgemmP(const WeightFormat& format, const QgemmArgs& args, cudaStream_t stream);

}  // namespace inferd::cuda_internal
