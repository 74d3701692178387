// What a GGUF file says about its tokenizer.
#pragma once

#include "base/status.h"
#include "base/vocabulary_spec.h"
#include "model/gguf.h"

namespace inferd {

// The `tokenizer.*` metadata, validated: every id is an index into tokens, scores and types are
// absent or as long as tokens. Needs no tensors, so vocabulary-only files will do. A file without
// a tokenizer gives TokenizerKind::kNone. kInvalidArgument names the key that is inconsistent,
// kUnimplemented the tokenizer model that is not known.
StatusOr<VocabularySpec> ReadVocabulary(const Gguf& gguf);

// Sets `eot`, the token that ends a turn, where no key names it: the control token with one of the
// texts that chat formats use for it. Without it a chat would run on past its answer.
void FindEndOfTurn(VocabularySpec& spec);

}  // namespace inferd
