#include "cpu/cpu_kernels.h"

#include "base/check.h"

namespace inferd {

const CpuKernels& KernelsFor(CpuIsa isa) {
  CHECK(IsSupported(isa));
  switch (isa) {
    case CpuIsa::kScalar:
      break;
    case CpuIsa::kAvx2:
      return kCpuKernelsAvx2;
    case CpuIsa::kAvx512:
      return kCpuKernelsAvx512;
  }
  return kCpuKernelsScalar;
}

}  // namespace inferd
