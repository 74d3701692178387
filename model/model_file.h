// ModelFile: one opened model: its bytes, what it is, and its tensors by role. Owns the mapping.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/file.h"
#include "base/status.h"
#include "base/vocabulary_spec.h"
#include "model/gguf.h"
#include "model/model_config.h"
#include "model/model_description.h"
#include "model/model_weights.h"

namespace inferd {

// Immutable after Open; movable handles share nothing. Thread: any, for reading.
class ModelFile {
 public:
  // Maps and validates the file: bounds, config, every tensor's shape and type by role.
  // kNotFound / kPermissionDenied for the path, kInvalidArgument for a broken file (what, which
  // tensor or key), kUnimplemented for what is not served yet, naming it.
  static StatusOr<std::unique_ptr<ModelFile>> Open(const std::string& path,
                                                   const ModelOptions& options = {});

  const std::string& path() const { return path_; }
  const Gguf& gguf() const { return gguf_; }
  const ModelConfig& config() const { return config_; }
  const ModelWeights& weights() const { return weights_; }
  const VocabularySpec& vocabulary() const { return vocabulary_; }
  // Lets the pages of a tensor go once a device has packed it.
  void Release(const TensorView& tensor) const { file_.Release(tensor.data); }
  uint64_t size_bytes() const { return file_.bytes().size(); }
  std::span<const std::byte> bytes() const { return file_.bytes(); }

 private:
  ModelFile(std::string path, MappedFile file) : path_(std::move(path)), file_(std::move(file)) {}
  std::string path_;
  MappedFile file_;
  Gguf gguf_;
  ModelConfig config_;
  ModelWeights weights_;
  VocabularySpec vocabulary_;
};

}  // namespace inferd
