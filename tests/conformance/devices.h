// The devices that the conformance and invariance suites run over, and how far each may lie from
// the exact reference.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/device.h"

namespace inferd {

// Errors are the largest difference over the root mean square of what is expected.
struct ConformanceLimits {
  double rows = 0;          // embed, norms, logits of float weights
  double linear = 0;        // activations that int8 per 16 holds without loss
  double linear_noise = 0;  // any activations, quantised weights
  double attention = 0;
  double attention_held = 0;      // keys and values that f16 holds without loss
  double model_kl_float = 0;      // mean KL of a tiny model's logits, float weights
  double model_kl_quantised = 0;  // quantised weights
};

struct ConformanceDevice {
  std::unique_ptr<Device> device;  // null if the host or the build has none
  std::string absent_because;
  ConformanceLimits limits;
};

// "exact", "cpu_scalar", "cpu_avx2", "cpu_avx512", "cuda".
std::vector<std::string> ConformanceDeviceNames();
// CHECKs that the name is known. CPU devices have `threads` compute threads.
ConformanceDevice OpenConformanceDevice(std::string_view name, int threads = 2);

}  // namespace inferd
