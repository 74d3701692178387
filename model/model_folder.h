// ModelFolder: a model as Hugging Face folders hold it: config.json, tokenizer.json and
// *.safetensors. Made into what a converted GGUF file would say, so that everything behind it is
// the same (docs/formats/model_folder.md).
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "base/vocabulary_spec.h"
#include "model/folder_config.h"
#include "model/gguf.h"
#include "model/int4_blocks.h"
#include "model/safetensors.h"

namespace inferd {

// The bytes of a model's file, by its name in the folder (a lone file's own name).
struct ModelBytes {
  std::string name;
  MemoryPages pages;
};

// Immutable after it is made, but for Release. int4 weights are held in memory of their own (about
// 1.1 times their size in the files), everything else stays in the files' bytes. Thread: any, for
// reading.
class ModelFolder {
 public:
  // Made of config.json, tokenizer.json, tokenizer_config.json, chat_template.jinja,
  // quantize_config.json and the weights that model.safetensors.index.json names, else of
  // model.safetensors. kNotFound, kPermissionDenied; kInvalidArgument for what is broken,
  // kUnimplemented for what is not served, naming the file and what in it.
  static StatusOr<std::unique_ptr<ModelFolder>> Open(const std::string& path);  // maps weights
  // Of bytes that were read already. Those that say nothing about the model go.
  static StatusOr<std::unique_ptr<ModelFolder>> FromBytes(std::vector<ModelBytes> files);
  // Is a file of this name, with parts joined by '/', one that a folder may be made of?
  static bool Wants(std::string_view name);
  // The same, where the text of the index is known (nothing: the folder has none), which is only
  // searched for the name: it may be of anybody, and nobody has approved it yet.
  static bool Wants(std::string_view name, std::optional<std::string_view> index);
  static constexpr const char* kIndexName = "model.safetensors.index.json";
  static constexpr uint64_t kIndexBytesMax = uint64_t{64} << 20;

  const Family& family() const { return config_.family; }
  const Gguf& gguf() const { return gguf_; }
  const VocabularySpec& vocabulary() const { return vocabulary_; }
  uint64_t size_bytes() const;  // of the files that it was made of
  // Lets pages of the files go (MemoryPages::Release); other memory stays.
  void Release(std::span<const std::byte> range) const;

 private:
  // Gives a file of the folder: kNotFound if it has none of that name.
  using Source = std::function<StatusOr<MemoryPages>(const std::string& name)>;
  ModelFolder() = default;
  static StatusOr<std::unique_ptr<ModelFolder>> Make(const Source& source);
  // The file's bytes, which stay; nothing if the folder has none of that name.
  StatusOr<std::optional<std::span<const std::byte>>> Take(const Source& source,
                                                           const std::string& name);
  Status ReadTexts(const Source& source);
  Status ReadWeights(const Source& source);
  Status AddTensors();
  Status AddTensor(const SafetensorsTensor& tensor);
  Status AddInt4(const std::string& prefix);
  const SafetensorsTensor* Find(const std::string& name) const;

  FolderConfig config_;
  VocabularySpec vocabulary_;
  std::deque<MemoryPages> files_;
  std::map<std::string, SafetensorsTensor, std::less<>> tensors_;
  std::deque<std::string> names_;               // of tensors, as GGUF has them
  std::deque<Int4Blocks> int4_;                 // what `gguf_` views, with names_
  std::deque<std::vector<std::byte>> aligned_;  // tensors that lie unaligned in their files
  std::vector<GgufTensor> gguf_tensors_;
  Gguf gguf_;
};

}  // namespace inferd
