// ModelFile: one opened model, a GGUF file or a folder of safetensors: its bytes, what it is, and
// its tensors by role. Owns the mapping.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/file.h"
#include "base/status.h"
#include "base/vocabulary_spec.h"
#include "model/gguf.h"
#include "model/model_config.h"
#include "model/model_description.h"
#include "model/model_folder.h"
#include "model/model_weights.h"

namespace inferd {

// Immutable after Open; movable handles share nothing. Thread: any, for reading.
class ModelFile {
 public:
  // Maps and validates the file, or the folder (model_folder.h): bounds, config, every tensor's
  // shape and type by role. kNotFound / kPermissionDenied for the path, kInvalidArgument for a
  // broken file (what, which tensor or key), kUnimplemented for what is not served yet, naming it.
  static StatusOr<std::unique_ptr<ModelFile>> Open(const std::string& path,
                                                   const ModelOptions& options = {});

  const std::string& path() const { return path_; }
  const Gguf& gguf() const { return gguf_; }
  const ModelConfig& config() const { return config_; }
  const ModelWeights& weights() const { return weights_; }
  const VocabularySpec& vocabulary() const { return vocabulary_; }
  // Lets the pages of a tensor go once a device has packed it.
  void Release(const TensorView& tensor) const;
  // All files together.
  uint64_t size_bytes() const;
  // What the model is made of, by name: one file, or those of the folder that were read.
  std::vector<std::span<const std::byte>> files() const;

 private:
  explicit ModelFile(std::string path) : path_(std::move(path)) {}
  StatusOr<ModelDescription> OpenFolder(const ModelOptions& options);
  StatusOr<ModelDescription> OpenGguf(const ModelOptions& options);

  std::string path_;
  std::optional<MappedFile> file_;  // one of the two
  std::unique_ptr<ModelFolder> folder_;
  Gguf gguf_;
  ModelConfig config_;
  ModelWeights weights_;
  VocabularySpec vocabulary_;
};

}  // namespace inferd
