// tokenizer.json and tokenizer_config.json of a model folder: what Hugging Face's tokenizers write,
// read as the same VocabularySpec that a GGUF file gives.
//
// Served: BPE over bytes (GPT-2, Llama 3, Qwen) and BPE over characters with byte fallback and
// visible spaces (Llama 2, Mistral). What else a file asks for is refused by name, with one
// exception: NFC normalisation is not applied, as it is not for GGUF files of the same models.
// Limits: 64 MiB, 4M values, 2^22 tokens.
#pragma once

#include <optional>
#include <string_view>

#include "base/status.h"
#include "base/vocabulary_spec.h"

namespace inferd {

// The texts of the files. Untrusted.
struct TokenizerFiles {
  std::string_view tokenizer_json = {};
  std::string_view tokenizer_config = {};  // empty if the folder has none
  std::string_view chat_template = {};     // chat_template.jinja; empty if the folder has none
  // What config.json says, for ids that tokenizer_config.json does not name.
  std::optional<int64_t> bos_id = {};
  std::optional<int64_t> eos_id = {};
};

// kInvalidArgument names what is inconsistent, kUnimplemented what is not served.
StatusOr<VocabularySpec> ReadTokenizerJson(const TokenizerFiles& files);

}  // namespace inferd
