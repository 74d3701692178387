// The `exact` reference: what a model means, computed plainly.
//
// Weights are dequantised to f32, activations between ops are f32, every sum and function inside an
// op is f64, KV is f32. One thread, no intrinsics, no blocking that changes an order of summation.
// It is the oracle of every device's conformance and of the goldens, not a device to serve with:
// weights take four bytes a value.
#pragma once

#include <memory>

#include "backend/device.h"

namespace inferd {

// A Device by the contract of backend/README.md. Ops run at once; Synchronize() never fails.
std::unique_ptr<Device> MakeExactDevice();

}  // namespace inferd
