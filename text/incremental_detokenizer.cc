#include "text/incremental_detokenizer.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace inferd {
namespace {

// Bytes at the end of `bytes` that more bytes could complete to a code point.
size_t UnfinishedBytes(std::string_view bytes) {
  constexpr size_t kUnfinishedMax = 3;
  for (size_t n = std::min(kUnfinishedMax, bytes.size()); n > 0; --n) {
    const std::string_view tail = bytes.substr(bytes.size() - n);
    // A lead byte always starts a new code point, so the cut is where Decode would cut too.
    if (static_cast<uint8_t>(tail[0]) >= 0xc2 && IsUtf8Prefix(tail)) {
      return n;
    }
  }
  return 0;
}

}  // namespace

IncrementalDetokenizer::IncrementalDetokenizer(const Tokenizer& tokenizer,
                                               bool show_control,
                                               bool at_text_start)
    : tokenizer_(tokenizer),
      show_control_(show_control),
      strip_space_(at_text_start && tokenizer.strips_leading_space()) {}

std::string IncrementalDetokenizer::Add(TokenId token) {
  std::string_view bytes = tokenizer_.TokenBytes(token, show_control_);
  if (strip_space_ && !bytes.empty()) {
    strip_space_ = false;
    if (bytes.front() == ' ') {
      bytes.remove_prefix(1);
    }
  }
  pending_ += bytes;
  std::string held = pending_.substr(pending_.size() - UnfinishedBytes(pending_));
  pending_.resize(pending_.size() - held.size());
  return ReplaceInvalidUtf8(std::exchange(pending_, std::move(held)));
}

std::string IncrementalDetokenizer::Finish() {
  return ReplaceInvalidUtf8(std::exchange(pending_, {}));
}

}  // namespace inferd
