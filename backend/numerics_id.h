// The numerics id: what, beside the weights and the tokens, decides the bits of a result.
#pragma once

#include <string_view>

#include "base/digest.h"
#include "model/model_config.h"

namespace inferd {

// SHA-256 over the Transformer's version, the device's contract (DeviceCapabilities::contract) and
// every choice in the config that changes numbers. Names, context length and state layout are not
// in it. Fields are tagged and length-prefixed, so that no two configs share a byte string; a field
// that is added later changes every id, which is right: the contract then says something new.
Digest NumericsId(std::string_view contract, const ModelConfig& config);

}  // namespace inferd
