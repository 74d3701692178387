// Random models: GGUF files with every feature of a family and weights that mean nothing. Tiny ones
// are for tests, large ones for benchmarks: speed needs no real weights.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "model/gguf_writer.h"

namespace inferd {

// A value; change any field of a preset before writing. Sizes must suit the formats: a row of a
// matrix is whole blocks. Norms, biases and rope factors are always F32.
struct RandomModelSpec {
  std::string family;  // llama, mistral, qwen2, qwen3, gemma2, gemma3, phi3
  uint64_t seed = 0;
  int32_t n_layers = 0;
  int32_t d_model = 0;
  int32_t d_ff = 0;
  int32_t n_heads = 0;
  int32_t n_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t rotary_dim = 0;  // head_dim but for phi3
  int32_t vocab_size = 0;  // below kRandomVocabularyMin the file has no tokenizer
  int32_t context = 0;
  int32_t window = 0;            // of families that have windows; 0: the key is left out
  int32_t original_context = 0;  // phi3: above it the long rope factors hold
  bool tied = false;
  QuantFormat attention = QuantFormat::kF32;  // q, k, v, attention_out
  QuantFormat ffn = QuantFormat::kF32;        // gate, up, down
  QuantFormat embedding = QuantFormat::kF32;
  QuantFormat output = QuantFormat::kF32;  // if not tied
};

// "llama" to "phi3", in the order above.
std::span<const std::string_view> RandomModelFamilies();

// 2 or 3 layers (7 for gemma3), windows of 32, every feature of the family on; sizes as odd as
// `format` allows: rows of one value, of 32 or of 256. CHECKs that the family is known.
RandomModelSpec TinyModel(std::string_view family, uint64_t seed, QuantFormat format);

// The shape of a 1.1B Llama: d 2048, ff 5632, 22 layers, 32 heads, 4 kv heads, vocab 32000.
RandomModelSpec BenchModel(uint64_t seed, QuantFormat format);

// The file, ready to be written, cut down or added to.
GgufWriter RandomModel(const RandomModelSpec& spec);

// RandomModel(spec).WriteFile(path).
Status WriteRandomModel(const RandomModelSpec& spec, const std::string& path);

}  // namespace inferd
