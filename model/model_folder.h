// ModelFolder: a model as Hugging Face folders hold it: config.json, tokenizer.json and
// *.safetensors. Made into what a converted GGUF file would say, so that everything behind it is
// the same (docs/formats/model_folder.md).
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "base/vocabulary_spec.h"
#include "model/folder_config.h"
#include "model/gguf.h"
#include "model/int4_blocks.h"
#include "model/safetensors.h"

namespace inferd {

// One file of a folder that says what the model is.
struct FolderFile {
  std::string name;  // in the folder
  std::span<const std::byte> bytes;
};

// Immutable after Open. int4 weights are held in memory of their own (about 1.1 times their size in
// the files), everything else stays mapped. Thread: any, for reading.
class ModelFolder {
 public:
  // Reads config.json, tokenizer.json, tokenizer_config.json, chat_template.jinja,
  // quantize_config.json and the weights that model.safetensors.index.json names, else
  // model.safetensors. kNotFound, kPermissionDenied; kInvalidArgument for what is broken,
  // kUnimplemented for what is not served, naming the file and what in it.
  static StatusOr<std::unique_ptr<ModelFolder>> Open(const std::string& path);

  const Family& family() const { return config_.family; }
  const Gguf& gguf() const { return gguf_; }
  const VocabularySpec& vocabulary() const { return vocabulary_; }
  // All that were read, by name.
  const std::vector<FolderFile>& files() const { return files_; }
  // Lets pages of mapped files go (MappedFile::Release); others stay.
  void Release(std::span<const std::byte> range) const;

 private:
  ModelFolder() = default;
  Status ReadTexts(const std::string& path);
  Status MapWeights(const std::string& path);
  Status AddTensors();
  Status AddTensor(const SafetensorsTensor& tensor);
  Status AddInt4(const std::string& prefix);
  const SafetensorsTensor* Find(const std::string& name) const;

  FolderConfig config_;
  VocabularySpec vocabulary_;
  std::vector<FolderFile> files_;
  std::deque<std::string> texts_;  // of files that are read whole
  std::deque<MappedFile> maps_;
  std::map<std::string, SafetensorsTensor, std::less<>> tensors_;
  std::deque<std::string> names_;               // of tensors, as GGUF has them
  std::deque<Int4Blocks> int4_;                 // what `gguf_` views, with names_
  std::deque<std::vector<std::byte>> aligned_;  // tensors that lie unaligned in their files
  std::vector<GgufTensor> gguf_tensors_;
  Gguf gguf_;
};

}  // namespace inferd
