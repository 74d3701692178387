// TokenizerDigest: names what a model does with text before it sees it, and after.
#pragma once

#include "base/digest.h"
#include "base/vocabulary_spec.h"

namespace inferd {

// SHA-256 over every field of the vocabulary but the chat template, which has a digest of its own:
// each as its size (8 bytes, little-endian) and its bytes, in the order in which the struct has
// them. Equal digests cut every text into equal tokens.
Digest TokenizerDigest(const VocabularySpec& vocabulary);

}  // namespace inferd
