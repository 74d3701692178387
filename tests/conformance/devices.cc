#include "tests/conformance/devices.h"

#include "base/check.h"
#include "cpu/cpu_device.h"
#include "cpu/exact_device.h"

namespace inferd {
namespace {

// f32 storage between ops is all that separates two exact computations.
constexpr ConformanceLimits kExactLimits = {.rows = 1e-6,
                                            .linear = 1e-6,
                                            .linear_noise = 1e-6,
                                            .attention = 2e-6,
                                            .attention_held = 2e-6,
                                            .model_kl_float = 1e-9,
                                            .model_kl_quantised = 1e-9};
// f32 sums, int8 activations for quantised weights, f16 KV (docs/design/0002).
constexpr ConformanceLimits kCpuLimits = {.rows = 1e-5,
                                          .linear = 2e-5,
                                          .linear_noise = 0.06,
                                          .attention = 1e-2,
                                          .attention_held = 2e-5,
                                          .model_kl_float = 1e-5,
                                          .model_kl_quantised = 0.02};

}  // namespace

std::vector<std::string> ConformanceDeviceNames() {
  return {"exact", "cpu_scalar", "cpu_avx2", "cpu_avx512", "cuda"};
}

ConformanceDevice OpenConformanceDevice(std::string_view name, int threads) {
  if (name == "exact") {
    return {.device = MakeExactDevice(), .absent_because = "", .limits = kExactLimits};
  }
  if (name == "cuda") {
    return {.device = nullptr,
            .absent_because = "this build has no CUDA device",
            .limits = kExactLimits};
  }
  CHECK(name.starts_with("cpu_"));
  const std::optional<CpuIsa> isa = CpuIsaFromName(name.substr(4));
  CHECK(isa.has_value());
  auto device = CpuDevice::Create({.threads = threads, .isa = *isa});
  if (!device.ok()) {
    return {.device = nullptr,
            .absent_because = std::string(Message(device.status())),
            .limits = kCpuLimits};
  }
  return {.device = *std::move(device), .absent_because = "", .limits = kCpuLimits};
}

}  // namespace inferd
