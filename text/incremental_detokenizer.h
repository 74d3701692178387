// IncrementalDetokenizer: tokens in, text out, never half a code point.
#pragma once

#include <string>

#include "base/ids.h"
#include "text/tokenizer.h"

namespace inferd {

// One generated text. Owned by the engine thread; the tokenizer outlives it.
// Invariant: the concatenation of all returned strings is the Decode of all tokens.
class IncrementalDetokenizer {
 public:
  // `at_text_start`: the generated text does not follow a prompt's text (SentencePiece then drops
  // the leading space).
  IncrementalDetokenizer(const Tokenizer& tokenizer, bool show_control, bool at_text_start);

  // The text that `token` completes; bytes of an unfinished code point are held back, bytes that
  // can never become one come out as U+FFFD.
  std::string Add(TokenId token);
  // What is held back, as U+FFFD if there is any. The text is then at its end.
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  bool show_control_;
  bool strip_space_;
  std::string pending_;
};

}  // namespace inferd
