#include "governance/audit/spilled_leaf.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "governance/audit/canonical_json.h"
#include "governance/verify/leaf_view.h"

namespace inferd {

StatusOr<LeafDraft> DraftOfSpilled(std::string_view leaf) {
  ASSIGN_OR_RETURN(const LeafView view, ParseLeaf(leaf));
  const auto json = nlohmann::json::parse(leaf, nullptr, false);
  if (!json.is_object() || !view.type || !json["tenant"].is_string()) {
    return ErrorF(StatusCode::kDataLoss, "a spilled leaf is none of this schema");
  }
  LeafDraft draft;
  draft.type = *view.type;
  draft.tenant = TenantId(json["tenant"].get<std::string>());
  draft.rid = RequestId(std::string(view.rid));
  draft.mode = AuditMode::kGuarded;
  draft.spilled = leaf;
  if (view.adm) {
    draft.admitted = AuditReceipt{
        .origin = std::string(view.adm_origin.empty() ? kSpillOrigin : view.adm_origin),
        .index = *view.adm,
        .leaf_hash = {}};
  }
  return draft;
}

StatusOr<std::string> EncodeSpilled(const LeafDraft& draft, const LeafChain& chain) {
  auto json = nlohmann::json::parse(draft.spilled, nullptr, false);
  if (!json.is_object() || !json["ts"].is_string()) {
    return ErrorF(StatusCode::kInvalidArgument, "a spilled leaf is no JSON object");
  }
  json["d"]["spilled_ts"] = json["ts"];
  json["ts"] = Rfc3339Micros(chain.wall);
  json["mono"] = std::to_string(chain.since_boot.count());
  json["boot"] = chain.boot;
  json["node"] = chain.node;
  json["tseq"] = chain.tseq;
  json["tprev"] = "sha256:" + chain.tprev.Hex();
  json.erase("adm_origin");
  if (draft.admitted) {
    json["adm"] = draft.admitted->index;
    if (draft.admitted->origin != chain.origin) {
      json["adm_origin"] = draft.admitted->origin;
    }
  }
  // Sorted keys, no whitespace, the same escapes: what JsonObject writes.
  std::string bytes = json.dump();
  if (bytes.size() > kLeafBytesMax) {
    return ErrorF(StatusCode::kInvalidArgument, "a spilled leaf has become too long");
  }
  return bytes;
}

}  // namespace inferd
