// PromptPrefix: the chain of keys under which the blocks of a prompt are cached.
//
// h_0 is the root: a digest of everything that state depends on besides the tokens (trust domain,
// model, numerics), made by the engine, opaque here. h_i = SHA-256(h_{i-1} | 64 token ids, 4 bytes
// each, little-endian). Keys under different roots never meet.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/digest.h"
#include "base/ids.h"

namespace inferd {

using BlockTokens = std::array<TokenId, kBlockTokens>;

// The key after one more block. `tokens` are kBlockTokens.
Digest ChainKey(const Digest& parent, std::span<const TokenId> tokens);
// The keys of all full blocks of a prompt: some 300 ns each, so made before Submit, on whatever
// thread takes the request.
std::vector<Digest> ChainKeys(const Digest& root, std::span<const TokenId> prompt);

// What a sequence brings to be served from the prefix cache and to leave its blocks there.
// Immutable; shared by the choices of a request.
struct PromptPrefix {
  Digest root;
  std::vector<Digest> keys;  // ChainKeys(root, prompt)
  // The same under the root of the PUBLIC domain: empty if there are no public prefixes. What is
  // found under them was registered by the operator, for everyone.
  std::vector<Digest> public_keys;
  // Its blocks become public, and are never evicted. For the operator's registrations alone.
  bool registers_public = false;
  // Positions where another prompt is likely to part from this one (the end of the system prompt,
  // the last turns), ascending: recurrent state is kept at the block boundary below each.
  std::vector<int64_t> boundaries;
};

}  // namespace inferd
