// config.json of a model folder as the keys that a GGUF file of the same model has, so that one
// reader (config_builder.h) understands both. Whatever else the file says is refused by name.
//
// Served: llama, mistral, qwen2 and qwen3, unquantised or in int4 of GPTQ or AWQ.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/family.h"
#include "model/gguf.h"
#include "model/int4_blocks.h"

namespace inferd {

struct FolderQuantisation {
  Int4Layout layout = Int4Layout::kGptq;
  int64_t group = 128;  // -1: one group of all inputs
};

// Movable, not copyable: `keys` views `texts`.
struct FolderConfig {
  Family family;
  std::map<std::string_view, GgufValue> keys;
  std::deque<std::string> texts;
  std::vector<float> rope_factors;  // `rope_freqs`; empty: none
  bool tied_embeddings = false;
  std::optional<FolderQuantisation> quantisation;
  std::optional<int64_t> bos_id;
  std::optional<int64_t> eos_id;
  int64_t vocab_size = 0;

  FolderConfig() = default;
  FolderConfig(FolderConfig&&) = default;
  FolderConfig& operator=(FolderConfig&&) = default;
};

// `config` is config.json; `quantize_config` the file of that name that old GPTQ folders have
// beside it, or empty. Untrusted. kInvalidArgument for what is wrong, kUnimplemented for what is
// not served, both naming the key.
StatusOr<FolderConfig> ReadFolderConfig(std::string_view config, std::string_view quantize_config);

}  // namespace inferd
