#include "governance/verify/leaf_types.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace inferd {
namespace {

// In the order of LeafType.
constexpr std::array<std::string_view, kNumLeafTypes> kNames = {
    "inference.admitted",
    "inference.completed",
    "inference.denied",
    "inference.aborted",
    "denied.summary",
    "egress.sent",
    "egress.received",
    "model.registered",
    "model.verified",
    "model.refused",
    "model.approved",
    "model.alias_moved",
    "model.loaded",
    "model.unloaded",
    "model.revoked",
    "model.canary",
    "model.rolled_back",
    "model.rollout_proposed",
    "model.rollout_approved",
    "policy.proposed",
    "policy.approved",
    "policy.activated",
    "quota.changed",
    "quota.adjusted",
    "quota.snapshot",
    "tenant.changed",
    "key.issued",
    "key.revoked",
    "key.rotated",
    "authn.failed",
    "admin.login",
    "admin.action",
    "review.opened",
    "review.signed_off",
    "review.payload_viewed",
    "review.exported",
    "hold.set",
    "hold.released",
    "erase.requested",
    "erase.approved",
    "erase.executed",
    "erase.refused",
    "replay.performed",
    "log.genesis",
    "log.heartbeat",
    "log.gap",
    "log.mode",
    "log.frozen",
    "log.recovered",
    "config.changed",
};

// By name, for readers of many leaves.
using TypesByName = std::array<LeafType, kNames.size()>;
constexpr TypesByName SortTypes() {
  TypesByName types{};
  for (size_t i = 0; i < types.size(); ++i) {
    types[i] = static_cast<LeafType>(i);
  }
  std::sort(types.begin(), types.end(), [](LeafType a, LeafType b) {
    return kNames[static_cast<size_t>(a)] < kNames[static_cast<size_t>(b)];
  });
  return types;
}
constexpr TypesByName kTypesByName = SortTypes();

}  // namespace

std::string_view Name(LeafType type) { return kNames[static_cast<size_t>(type)]; }

std::optional<LeafType> LeafTypeFromName(std::string_view name) {
  const auto found = std::lower_bound(
      kTypesByName.begin(), kTypesByName.end(), name, [](LeafType type, std::string_view wanted) {
        return Name(type) < wanted;
      });
  return found != kTypesByName.end() && Name(*found) == name ? std::optional<LeafType>(*found)
                                                             : std::nullopt;
}

bool IsLogType(LeafType type) { return Name(type).starts_with("log."); }

}  // namespace inferd
