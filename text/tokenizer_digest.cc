#include "text/tokenizer_digest.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/sha256.h"

namespace inferd {
namespace {

// Hashes values so that no two lists of them give the same bytes.
class FieldHash {
 public:
  void Add(uint64_t number) {
    for (size_t i = 0; i < sizeof number; ++i) {
      bytes_[i] = static_cast<std::byte>(number >> (8 * i) & 0xff);
    }
    hash_.Update(bytes_);
  }
  void Add(std::string_view text) {
    Add(text.size());
    hash_.Update(text);
  }
  void Add(float number) { Add(uint64_t{std::bit_cast<uint32_t>(number)}); }
  void Add(TokenType type) { Add(static_cast<uint64_t>(type)); }
  void Add(const std::string& text) { Add(std::string_view(text)); }
  void Add(bool flag) { Add(uint64_t{flag ? 1u : 0u}); }
  void Add(const std::optional<TokenId>& token) {
    Add(token.has_value());
    Add(static_cast<uint64_t>(token.value_or(0)));
  }
  template <typename Value>
  void Add(const std::vector<Value>& values) {
    Add(uint64_t{values.size()});
    for (const Value& value : values) {
      Add(value);
    }
  }
  Digest Finish() { return hash_.Finish(); }

 private:
  Sha256 hash_;
  std::array<std::byte, 8> bytes_{};
};

}  // namespace

Digest TokenizerDigest(const VocabularySpec& vocabulary) {
  FieldHash hash;
  hash.Add(std::string_view("inferd-tokenizer-v1"));
  hash.Add(static_cast<uint64_t>(vocabulary.kind));
  hash.Add(vocabulary.pre);
  hash.Add(vocabulary.pre_patterns);
  hash.Add(vocabulary.ignore_merges);
  hash.Add(vocabulary.tokens);
  hash.Add(vocabulary.scores);
  hash.Add(vocabulary.types);
  hash.Add(vocabulary.merges);
  for (const auto& special : {vocabulary.bos,
                              vocabulary.eos,
                              vocabulary.eot,
                              vocabulary.eom,
                              vocabulary.unk,
                              vocabulary.sep,
                              vocabulary.pad,
                              vocabulary.cls,
                              vocabulary.mask}) {
    hash.Add(special);
  }
  for (const bool flag : {vocabulary.add_bos,
                          vocabulary.add_eos,
                          vocabulary.add_space_prefix,
                          vocabulary.remove_extra_whitespaces,
                          vocabulary.strips_after_special}) {
    hash.Add(flag);
  }
  return hash.Finish();
}

}  // namespace inferd
