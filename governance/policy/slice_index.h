// SliceIndex: which rules of a set can apply to a principal and an action, found without asking the
// others.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "governance/policy/policy_entities.h"
#include "governance/policy/policy_set.h"

namespace inferd {

// Exact: a rule is in the slice if and only if both are in its scope. Cedar evaluates the scope
// before the rest, so a rule outside of it neither applies nor errs; of those in it nobody asks the
// scope of principal and action again. Immutable, thread-safe.
class SliceIndex {
 public:
  SliceIndex(const PolicySet& set, const PolicyEntities& entities);

  // Numbers of the rules, ascending, in `rules`, which is cleared. Both entities must be there.
  void Find(PolicyEntityIndex principal,
            PolicyEntityIndex action,
            std::vector<uint32_t>& rules) const;

 private:
  struct Entry {
    uint32_t rule;
    uint32_t type;  // of the principal, or kAnyType
    bool exact;     // the principal itself, not what it is in
  };
  // Of one action: the rules about every principal, and those about an entity or what is in it.
  struct OfAction {
    std::vector<Entry> everyone;
    std::unordered_map<uint32_t, std::vector<Entry>> by_entity;
  };
  struct Placed {
    uint32_t name;
    uint32_t type;
    std::vector<uint32_t> ancestors;
  };

  uint32_t NameOf(const std::string& text);
  uint32_t TypeOf(const std::string& text);
  bool IsAbout(const PolicyScope& action, const Placed& placed) const;
  void Add(const PolicyRule& rule, uint32_t number, OfAction& index);

  std::unordered_map<std::string, uint32_t> names_;
  std::unordered_map<std::string, uint32_t> types_;
  std::vector<Placed> entities_;     // by PolicyEntityIndex
  std::vector<OfAction> by_action_;  // by PolicyEntityIndex; empty for what is no action
};

}  // namespace inferd
