// A VocabularySpec written as the tokenizer.json of a model folder: for tests of its reader.
#pragma once

#include <string>
#include <vector>

#include "base/vocabulary_spec.h"

namespace inferd {

// `patterns` are the regular expressions of a byte-level vocabulary, in order; empty: GPT-2's own.
// SentencePiece vocabularies get the merges that their scores mean, as converters derive them.
std::string TokenizerJson(const VocabularySpec& spec, const std::vector<std::string>& patterns);
// tokenizer_config.json of the same: special tokens, flags and the chat template.
std::string TokenizerConfigJson(const VocabularySpec& spec);

}  // namespace inferd
