// PolicyEntities: the principals, actions and resources that requests are about, and what each is
// in: built beforehand, so that a request names them by number.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "governance/policy/policy_set.h"

struct RustPolicyEntities;

namespace inferd {

// An entity's number in one PolicyEntities.
using PolicyEntityIndex = Id<struct PolicyEntityIndexTag, uint32_t>;

struct PolicyEntityName {
  std::string type{};  // Inferd::Workload
  std::string id{};
  friend auto operator<=>(const PolicyEntityName&, const PolicyEntityName&) = default;
};

using PolicyEntityValue = std::variant<bool, int64_t, std::string, std::vector<std::string>>;

struct PolicyEntity {
  PolicyEntityName name{};
  std::map<std::string, PolicyEntityValue> attributes{};
  std::vector<PolicyEntityName> parents{};
  friend bool operator==(const PolicyEntity&, const PolicyEntity&) = default;
};

// Cedar's JSON form of entities.
std::string EntitiesJson(std::span<const PolicyEntity> entities);

// Immutable, thread-safe.
class PolicyEntities {
 public:
  ~PolicyEntities();
  PolicyEntities(const PolicyEntities&) = delete;
  PolicyEntities& operator=(const PolicyEntities&) = delete;

  // `json`: [{"uid": {"type", "id"}, "attrs": {}, "parents": [{"type", "id"}]}]. The schema of
  // `set` checks them and adds its actions. kInvalidArgument says which entity does not fit.
  static StatusOr<std::unique_ptr<PolicyEntities>> FromJson(PolicySet::Pointer set,
                                                            std::string_view json);

  std::optional<PolicyEntityIndex> Find(std::string_view type, std::string_view id) const;
  size_t size() const { return described_.size(); }

  struct Described {
    std::string type;
    std::string text;                    // Type::"id", as PolicyScope names it
    std::vector<std::string> ancestors;  // the same form; all of them, not parents alone
  };
  const std::vector<Described>& described() const { return described_; }
  const PolicySet& set() const { return *set_; }
  // For what evaluates. Never null.
  const RustPolicyEntities* handle() const { return handle_; }

 private:
  PolicyEntities() = default;

  PolicySet::Pointer set_;
  std::vector<Described> described_;                 // by index
  std::unordered_map<std::string, uint32_t> index_;  // by type, a zero byte, id
  RustPolicyEntities* handle_ = nullptr;             // owned
};

}  // namespace inferd
