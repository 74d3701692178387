#include "scheduler/prompt_prefix.h"

#include <bit>

#include "base/check.h"
#include "base/sha256.h"

namespace inferd {

static_assert(std::endian::native == std::endian::little, "token ids are hashed as they lie");

Digest ChainKey(const Digest& parent, std::span<const TokenId> tokens) {
  CHECK(tokens.size() == kBlockTokens);
  std::array<std::byte, sizeof(parent.bytes) + kBlockTokens * sizeof(TokenId)> bytes;
  const std::span<const std::byte> key = std::as_bytes(std::span(parent.bytes));
  const std::span<const std::byte> ids = std::as_bytes(tokens);
  std::copy(key.begin(), key.end(), bytes.begin());
  std::copy(ids.begin(), ids.end(), bytes.begin() + sizeof(parent.bytes));
  return Sha256Of(bytes);
}

std::vector<Digest> ChainKeys(const Digest& root, std::span<const TokenId> prompt) {
  std::vector<Digest> keys;
  const size_t blocks = prompt.size() / kBlockTokens;
  keys.reserve(blocks);
  for (size_t i = 0; i < blocks; ++i) {
    keys.push_back(
        ChainKey(i == 0 ? root : keys.back(), prompt.subspan(i * kBlockTokens, kBlockTokens)));
  }
  return keys;
}

}  // namespace inferd
