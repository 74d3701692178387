// Small vocabularies that work: every text can be encoded, and decodes to itself.
#pragma once

#include <cstdint>

#include "model/gguf_writer.h"

namespace inferd {

enum class RandomVocabulary : uint8_t {
  kBytePairs,      // byte-level BPE with ChatML's control tokens and template
  kSentencePiece,  // pieces with byte fallback, bos added, a template in the manner of Phi-3
};

// Control tokens, bytes and common pieces take this many; a model may have any number above.
inline constexpr int32_t kRandomVocabularyMin = 320;

// Writes the `tokenizer.*` keys. Of `vocab_size` tokens, those that no text yields are unused ones.
void SetVocabulary(RandomVocabulary kind, int32_t vocab_size, GgufWriter& writer);

}  // namespace inferd
