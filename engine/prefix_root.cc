#include "engine/prefix_root.h"

#include <array>
#include <cstdint>
#include <span>

#include "base/sha256.h"

namespace inferd::engine_internal {
namespace {

std::string_view AsText(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size()};
}

// A name, a length of 8 bytes (little-endian) and the bytes: no two lists of fields hash alike.
void Add(Sha256& hash, std::string_view name, std::string_view value) {
  for (const std::string_view part : {name, value}) {
    std::array<std::byte, 8> length{};
    for (size_t i = 0; i < length.size(); ++i) {
      length[i] = static_cast<std::byte>((uint64_t{part.size()} >> (8 * i)) & 0xff);
    }
    hash.Update(std::span<const std::byte>(length));
    hash.Update(part);
  }
}

void AddModel(Sha256& hash, const ResidentModel& model) {
  Add(hash, "model", AsText(model.digest));
  Add(hash, "numerics", AsText(model.numerics_id));
}

}  // namespace

Digest PrefixRoot(std::string_view tenant, std::string_view scope, const ResidentModel& model) {
  Sha256 hash;
  Add(hash, "inferd", "prefix root v1");
  Add(hash, "tenant", tenant);
  Add(hash, "scope", scope);
  AddModel(hash, model);
  return hash.Finish();
}

// No tenant's root: the fields differ.
Digest PublicRoot(const ResidentModel& model) {
  Sha256 hash;
  Add(hash, "inferd", "public prefix root v1");
  AddModel(hash, model);
  return hash.Finish();
}

std::shared_ptr<const PromptPrefix> MakePrefix(const GenerationRequest& request,
                                               const ResidentModel& model,
                                               bool has_public) {
  if (!request.use_prefix_cache) {
    return nullptr;
  }
  auto prefix = std::make_shared<PromptPrefix>();
  prefix->root = PrefixRoot(request.tenant.value(), request.prefix_scope, model);
  prefix->keys = ChainKeys(prefix->root, *request.prompt);
  if (has_public) {
    prefix->public_keys = ChainKeys(PublicRoot(model), *request.prompt);
  }
  return prefix;
}

std::shared_ptr<const PromptPrefix> MakePublicPrefix(const std::vector<TokenId>& prompt,
                                                     const ResidentModel& model) {
  auto prefix = std::make_shared<PromptPrefix>();
  prefix->root = PublicRoot(model);
  prefix->keys = ChainKeys(prefix->root, prompt);
  prefix->registers_public = true;
  return prefix;
}

}  // namespace inferd::engine_internal
