// inferd_gpu_weights_corpus DIR: writes the seeds of the gpu_weights fuzzer: one file for each kind
// of scale and zero.
#include <cstdio>
#include <fstream>
#include <string>

#include "cuda/packed_weights.h"

int main(int argc, char** argv) {
  using namespace inferd::cuda_internal;  // NOLINT(google-build-using-namespace): a main
  if (argc != 2) {
    std::fprintf(stderr, "usage: inferd_gpu_weights_corpus DIR\n");
    return 2;
  }
  const WeightFormat formats[] = {
      {.bits = 4, .group = 128, .zero = ZeroKind::kZeroPoint},
      {.bits = 3, .group = 16, .scale = ScaleKind::kSuperBlock},
      {.bits = 2, .group = 16, .zero = ZeroKind::kMinimum, .scale = ScaleKind::kSuperBlock},
      {.bits = 8, .group = 32},
  };
  for (const WeightFormat& format : formats) {
    const PackedWeights weights(format, 3, 130);
    const std::string name = "bits" + std::to_string(format.bits);
    std::ofstream(std::string(argv[1]) + '/' + name, std::ios::binary) << weights.Serialize();
  }
  return 0;
}
