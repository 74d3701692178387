// From tensor names to roles: fused tensors are taken apart, tied outputs share the embedding.
#pragma once

#include "base/status.h"
#include "model/family.h"
#include "model/model_config.h"
#include "model/model_weights.h"
#include "model/weight_reader.h"

namespace inferd {

// Every tensor's shape is checked against `config`; every tensor of the file must have a role (or
// be one that holds nothing that is needed), else kUnimplemented names it. Sets
// `config.tied_embeddings`.
StatusOr<ModelWeights> ReadWeights(const Family& family, ModelConfig& config, WeightReader& reader);

}  // namespace inferd
