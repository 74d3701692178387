// ModelFile: one opened model, a GGUF file or a folder of safetensors: its bytes, what it is, and
// its tensors by role. Owns the bytes.
#pragma once

#include <memory>
#include <optional>
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

// Immutable after it is made, but for Release; movable handles share nothing. Thread: any, for
// reading.
class ModelFile {
 public:
  // Maps and validates the file, or the folder (model_folder.h): bounds, config, every tensor's
  // shape and type by role. kNotFound / kPermissionDenied for the path, kInvalidArgument for a
  // broken file (what, which tensor or key), kUnimplemented for what is not served yet, naming it.
  // For tools and tests: whoever writes the file meanwhile changes what is read.
  static StatusOr<std::unique_ptr<ModelFile>> Open(const std::string& path,
                                                   const ModelOptions& options = {});
  // The same of bytes that were read from `path`: nothing is read any more.
  static StatusOr<std::unique_ptr<ModelFile>> FromBytes(const std::string& path,
                                                        std::vector<ModelBytes> files,
                                                        const ModelOptions& options = {});

  const std::string& path() const { return path_; }
  const Gguf& gguf() const { return gguf_; }
  const ModelConfig& config() const { return config_; }
  const ModelWeights& weights() const { return weights_; }
  const VocabularySpec& vocabulary() const { return vocabulary_; }
  // Lets the pages of a tensor go once a device has packed it: of FromBytes, its values with them.
  void Release(const TensorView& tensor) const;
  // All files together.
  uint64_t size_bytes() const;

 private:
  explicit ModelFile(std::string path) : path_(std::move(path)) {}
  StatusOr<ModelDescription> Describe(const ModelOptions& options);
  static StatusOr<std::unique_ptr<ModelFile>> Finish(std::unique_ptr<ModelFile> file,
                                                     const ModelOptions& options);

  std::string path_;
  std::optional<MemoryPages> file_;  // one of the two
  std::unique_ptr<ModelFolder> folder_;
  Gguf gguf_;
  ModelConfig config_;
  ModelWeights weights_;
  VocabularySpec vocabulary_;
};

}  // namespace inferd
