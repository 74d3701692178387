#include "daemon/backends.h"

#include "cpu/cpu_device.h"
#include "cpu/isa.h"

namespace inferd {

StatusOr<std::unique_ptr<Device>> MakeDevice(const Config::DeviceChoice& choice) {
  if (choice.kind == "cuda") {
    return ErrorF(StatusCode::kUnimplemented,
                  "device.kind: cuda is asked for, and this build has no CUDA device; there is no "
                  "fall back: set device.kind to cpu to compute there");
  }
  CpuDevice::Options options;
  options.threads = static_cast<int>(choice.threads);
  if (choice.cpu_isa != "auto") {
    const auto isa = CpuIsaFromName(choice.cpu_isa);
    if (!isa.has_value()) {
      return ErrorF(StatusCode::kInvalidArgument, "device.cpu_isa: %s is unknown", choice.cpu_isa);
    }
    options.isa = *isa;
  }
  ASSIGN_OR_RETURN(std::unique_ptr<CpuDevice> device, CpuDevice::Create(options));
  return device;
}

}  // namespace inferd
