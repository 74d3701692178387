#include "cuda/contract_name.h"

#include "cuda/elementary.h"

namespace inferd {

std::string CudaContractName(const CudaContractFacts& facts) {
  using namespace cuda_internal;  // NOLINT(google-build-using-namespace): one function's
  std::string name = "inferd.cuda." + std::to_string(kContractVersion);
  name += " slices=" + std::to_string(NumSlices(GemmClass::kDecode, {})) + "/" +
          std::to_string(NumSlices(GemmClass::kPrefill, {}));
  name += " block=" + std::to_string(kBlockValues);
  const bool ampere = TensorCoreClassOf(facts.compute_capability) == TensorCoreClass::kAmpere;
  name += std::string(" mma=") + (ampere ? "ampere" : "hopper");
  name += " prefill=";
  name += facts.prefill;
  name += " math=" + std::to_string(kMathVersion);
  name += " toolkit=";
  name += facts.toolkit;
  return name;
}

}  // namespace inferd
