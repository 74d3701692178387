// From metadata to ModelConfig: every difference between families becomes data here.
#pragma once

#include "base/status.h"
#include "model/config_reader.h"
#include "model/family.h"
#include "model/model_config.h"
#include "model/weight_reader.h"

namespace inferd {

// `vocab_size` is what tokenizer or embedding say; `context_tokens_max` as in ModelOptions. Errors
// as ModelFile::Open. Takes the tensors that change the config (rope factors).
StatusOr<ModelConfig> ReadConfig(const Family& family,
                                 int64_t vocab_size,
                                 int64_t context_tokens_max,
                                 ConfigReader& config,
                                 WeightReader& weights);

}  // namespace inferd
