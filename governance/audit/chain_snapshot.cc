#include "governance/audit/chain_snapshot.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/sha256.h"

namespace inferd {
namespace {

using Json = nlohmann::json;

constexpr size_t kHexDigits = 64;

Status Bad(const char* why) {
  return ErrorF(StatusCode::kDataLoss, "the snapshot of the chains is damaged: %s", why);
}

std::optional<std::string> TextOf(const Json& json) {
  return json.is_string() ? std::optional(json.get<std::string>()) : std::nullopt;
}

std::optional<uint64_t> NumberOf(const Json& json) {
  return json.is_number_unsigned() ? std::optional(json.get<uint64_t>()) : std::nullopt;
}

std::optional<Digest> HashOf(const Json& json) {
  const auto text = TextOf(json);
  const auto digest = Digest::FromHex(text.value_or(""));
  return digest.ok() ? std::optional(*digest) : std::nullopt;
}

const Json& Member(const Json& object, const char* key) {
  static const Json kNothing;
  const auto found = object.find(key);
  return found == object.end() ? kNothing : *found;
}

// [tenant, tseq of the next leaf, hash of the last]
bool TakeChain(const Json& item, ChainChecker::Chains& chains) {
  if (!item.is_array() || item.size() != 3) {
    return false;
  }
  const auto tenant = TextOf(item[0]);
  const auto next = NumberOf(item[1]);
  const auto last = HashOf(item[2]);
  if (!tenant || !next || !last) {
    return false;
  }
  chains[*tenant] = {.next = *next, .last = *last};
  return true;
}

// [origin, index, tenant, rid, what was reserved]
bool TakeOpen(const Json& item, std::vector<ChainChecker::OpenIntent>& open) {
  if (!item.is_array() || item.size() != 5) {
    return false;
  }
  const auto origin = TextOf(item[0]);
  const auto index = NumberOf(item[1]);
  const auto tenant = TextOf(item[2]);
  const auto rid = TextOf(item[3]);
  const auto reserved = TextOf(item[4]);
  if (!origin || !index || !tenant || !rid || !reserved) {
    return false;
  }
  open.push_back({.origin = *origin,
                  .index = *index,
                  .intent = {.tenant = *tenant, .rid = *rid, .reserved = *reserved}});
  return true;
}

}  // namespace

std::string EncodeChainSnapshot(const ChainSnapshot& snapshot) {
  Json chains = Json::array();
  for (const auto& [tenant, chain] : snapshot.chains) {
    chains.push_back(Json::array({tenant, chain.next, chain.last.Hex()}));
  }
  Json open = Json::array();
  for (const ChainChecker::OpenIntent& request : snapshot.open) {
    open.push_back(Json::array({request.origin,
                                request.index,
                                request.intent.tenant,
                                request.intent.rid,
                                request.intent.reserved}));
  }
  const Json json = {{"v", 1},
                     {"origin", snapshot.origin},
                     {"size", snapshot.size},
                     {"root", snapshot.root.Hex()},
                     {"chains", std::move(chains)},
                     {"open", std::move(open)}};
  const std::string text = json.dump() + '\n';
  return Sha256Of(text).Hex() + '\n' + text;
}

StatusOr<ChainSnapshot> ParseChainSnapshot(std::string_view bytes) {
  if (bytes.size() <= kHexDigits || bytes[kHexDigits] != '\n') {
    return Bad("it is too short");
  }
  const std::string_view text = bytes.substr(kHexDigits + 1);
  if (bytes.substr(0, kHexDigits) != Sha256Of(text).Hex()) {
    return Bad("its hash is another");
  }
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || Member(json, "v") != 1) {
    return Bad("it is of another version");
  }
  const auto origin = TextOf(Member(json, "origin"));
  const auto size = NumberOf(Member(json, "size"));
  const auto root = HashOf(Member(json, "root"));
  const Json& chains = Member(json, "chains");
  const Json& open = Member(json, "open");
  if (!origin || !size || !root || !chains.is_array() || !open.is_array()) {
    return Bad("members are missing");
  }
  ChainSnapshot snapshot{.origin = *origin, .size = *size, .root = *root, .chains = {}, .open = {}};
  for (const Json& item : chains) {
    if (!TakeChain(item, snapshot.chains)) {
      return Bad("a chain is");
    }
  }
  for (const Json& item : open) {
    if (!TakeOpen(item, snapshot.open)) {
      return Bad("an open request is");
    }
  }
  return snapshot;
}

}  // namespace inferd
