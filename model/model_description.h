// ModelDescription: everything that a parsed GGUF says about a model, without the file around it.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "base/vocabulary_spec.h"
#include "model/family.h"
#include "model/gguf.h"
#include "model/model_config.h"
#include "model/model_weights.h"

namespace inferd {

// What a caller may choose when a model is opened. Each choice that changes numbers is part of the
// numerics id.
struct ModelOptions {
  // Positions to serve; 0: what the file declares. Above the file's own is refused. Long-rope
  // models take their long factors iff this exceeds the original context.
  int64_t context_tokens_max = 0;
};

// A value; its weights view the bytes that the Gguf was parsed from.
struct ModelDescription {
  ModelConfig config;
  ModelWeights weights;
  VocabularySpec vocabulary;
};

// Of a folder, whose `family` and `vocabulary` come from other files than its tensors. Errors as
// below.
StatusOr<ModelDescription> DescribeModel(const Family& family,
                                         const Gguf& gguf,
                                         VocabularySpec vocabulary,
                                         const ModelOptions& options);

// Errors as ModelFile::Open, which is this over a mapped file.
StatusOr<ModelDescription> DescribeModel(const Gguf& gguf, const ModelOptions& options = {});

}  // namespace inferd
