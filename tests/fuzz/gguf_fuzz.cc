// Everything that opening a model does with a stranger's bytes: parse, read the vocabulary,
// describe the model, sum it up, and dequantise some rows of each tensor.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"
#include "model/dequantize.h"
#include "model/inspect.h"
#include "model/model_description.h"
#include "model/vocabulary.h"

namespace inferd {
namespace {

// Dequantises the first and the last row, if they are not long.
void ReadRows(const TensorView& tensor) {
  constexpr int64_t kColsMax = 1 << 14;
  if (tensor.empty() || tensor.cols > kColsMax) {
    return;
  }
  CHECK(static_cast<int64_t>(tensor.data.size()) ==
        tensor.rows * RowBytes(tensor.format, tensor.cols));
  (void)Dequantize(RowRange(tensor, 0, 1));
  (void)Dequantize(RowRange(tensor, tensor.rows - 1, 1));
}

void ReadRows(const GgufTensor& tensor) {
  const auto format = QuantFormatFromGgml(tensor.ggml_type);
  if (!format) {
    return;
  }
  int64_t rows = 1;
  for (size_t i = 1; i < tensor.dims.size(); ++i) {
    rows *= static_cast<int64_t>(tensor.dims[i]);
  }
  ReadRows(TensorView{
      std::string(tensor.name), *format, rows, static_cast<int64_t>(tensor.dims[0]), tensor.data});
}

// The invariants that ModelConfig, VocabularySpec and ModelWeights promise their readers.
void CheckPromises(const ModelDescription& model) {
  const ModelConfig& config = model.config;
  CHECK(config.layers.size() == model.weights.layers.size());
  CHECK(model.weights.token_embedding.rows == config.vocab_size);
  CHECK(config.context_tokens_max > 0 && !config.geometry.groups.empty());
  for (const LayerConfig& layer : config.layers) {
    const AttentionConfig& a = layer.attention;
    CHECK(a.n_kv_heads > 0 && a.n_heads % a.n_kv_heads == 0);
    CHECK(a.rope.rotary_dim % 2 == 0 && a.rope.rotary_dim <= a.head_dim);
    CHECK(a.rope.factors.empty() ||
          static_cast<int32_t>(a.rope.factors.size()) == a.rope.rotary_dim / 2);
    CHECK(static_cast<size_t>(a.state_group) < config.geometry.groups.size());
    CHECK(config.geometry.groups[static_cast<size_t>(a.state_group)].window == a.window);
  }
  for (const LayerWeights& layer : model.weights.layers) {
    for (const TensorView* tensor : {&layer.q, &layer.k, &layer.v, &layer.gate, &layer.up}) {
      CHECK(!tensor->empty() && tensor->cols == config.d_model);
      ReadRows(*tensor);
    }
  }
}

void CheckPromises(const VocabularySpec& vocabulary) {
  CHECK(vocabulary.scores.empty() || vocabulary.scores.size() == vocabulary.tokens.size());
  CHECK(vocabulary.types.empty() || vocabulary.types.size() == vocabulary.tokens.size());
  for (const auto& id : {vocabulary.bos,
                         vocabulary.eos,
                         vocabulary.eot,
                         vocabulary.eom,
                         vocabulary.unk,
                         vocabulary.sep,
                         vocabulary.pad,
                         vocabulary.cls}) {
    CHECK(!id || (*id >= 0 && *id < vocabulary.size()));
  }
}

void Exercise(std::span<const std::byte> bytes) {
  const auto gguf = Gguf::Parse(bytes);
  if (!gguf.ok()) {
    return;
  }
  for (const GgufTensor& tensor : gguf->tensors()) {
    ReadRows(tensor);
  }
  if (const auto vocabulary = ReadVocabulary(*gguf); vocabulary.ok()) {
    CheckPromises(*vocabulary);
  }
  for (const int64_t context : {0, 100}) {
    const auto model = DescribeModel(*gguf, {.context_tokens_max = context});
    if (model.ok()) {
      CheckPromises(*model);
    }
  }
  const std::string text = ToText(Summarize(*gguf, bytes.size()));
  CHECK(std::all_of(
      text.begin(), text.end(), [](char c) { return c == '\n' || (c >= ' ' && c < 0x7f); }));
}

}  // namespace
}  // namespace inferd

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  inferd::Exercise(std::as_bytes(std::span(data, size)));
  return 0;
}
