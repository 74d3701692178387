// Which device computes. The one place that knows the device rooms.
#pragma once

#include <memory>

#include "backend/device.h"
#include "base/status.h"
#include "daemon/config.h"

namespace inferd {

// The device that the config asks for, or why there is none. A device that is missing is an error,
// never replaced by another.
StatusOr<std::unique_ptr<Device>> MakeDevice(const Config::DeviceChoice& choice);

}  // namespace inferd
