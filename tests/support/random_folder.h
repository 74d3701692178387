// Random model folders: config.json, tokenizer.json and safetensors with int4 weights of GPTQ or
// AWQ, and the same model as a GGUF file of F32, computed apart from the reader.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/gguf_writer.h"
#include "model/int4_blocks.h"

namespace inferd {

// A value.
struct RandomFolderSpec {
  std::string model_type = "qwen2";  // llama, mistral, qwen2, qwen3
  bool quantised = true;             // else BF16
  Int4Layout layout = Int4Layout::kGptq;
  bool symmetric = true;
  bool act_order = false;  // of GPTQ
  int64_t group = 128;     // -1: one for all inputs
  bool llama3_rope = false;
  bool tied = false;
  int32_t shards = 1;
  uint64_t seed = 1;
};

// Two layers of width 128, 4 heads of 32, 2 kv heads, d_ff 256, 331 tokens of 340. `folder` exists.
// Returns the model as a GGUF converter would write it (q and k of llama permuted), in F32.
StatusOr<GgufWriter> WriteRandomFolder(const RandomFolderSpec& spec, const std::string& folder);

// A safetensors file's bytes: tensors in the order given, `type` as its header says.
struct RawTensor {
  std::string name;
  std::string type;
  std::vector<int64_t> shape;
  std::string bytes;
};
std::string SafetensorsBytes(const std::vector<RawTensor>& tensors);

}  // namespace inferd
