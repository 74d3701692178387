#include "backend/device.h"

#include "base/check.h"

namespace inferd {

void DeviceState::SaveUnit(int32_t, BlockIndex, std::span<std::byte>) const {
  CHECK(copies_units());
}

void DeviceState::LoadUnit(int32_t, BlockIndex, std::span<const std::byte>) {
  CHECK(copies_units());
}

}  // namespace inferd
