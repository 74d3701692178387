// The contract's name: what stands in DeviceCapabilities::contract and, through NumericsId of
// backend, in every audit record.
#pragma once

#include <string>
#include <string_view>

#include "cuda/contract.h"

namespace inferd {

struct CudaContractFacts {
  int compute_capability = 0;            // 90 for sm_90; only its tensor-core class enters the name
  std::string_view toolkit;              // "13.0.88": the compiler of the kernels
  std::string_view prefill = "qgemm_p";  // what computes prompt rows: "qgemm_p", "cublaslt-13.1.0"
};

// "inferd.cuda.1 slices=8/1 block=128 mma=hopper prefill=qgemm_p math=1 toolkit=13.0.88". Two names
// are equal exactly if results may be compared bit for bit.
std::string CudaContractName(const CudaContractFacts& facts);

}  // namespace inferd
