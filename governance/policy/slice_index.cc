#include "governance/policy/slice_index.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace inferd {
namespace {

constexpr uint32_t kAnyType = std::numeric_limits<uint32_t>::max();

// Cedar's actions, and nothing else, have a type of this name, in any namespace.
bool IsActionType(std::string_view type) { return type == "Action" || type.ends_with("::Action"); }

}  // namespace

SliceIndex::SliceIndex(const PolicySet& set, const PolicyEntities& entities) {
  for (const PolicyEntities::Described& described : entities.described()) {
    Placed& placed = entities_.emplace_back();
    placed.name = NameOf(described.text);
    placed.type = TypeOf(described.type);
    for (const std::string& ancestor : described.ancestors) {
      placed.ancestors.push_back(NameOf(ancestor));
    }
  }
  by_action_.resize(entities_.size());
  for (size_t action = 0; action < entities_.size(); ++action) {
    if (!IsActionType(entities.described()[action].type)) {
      continue;
    }
    for (uint32_t number = 0; number < set.rules().size(); ++number) {
      if (IsAbout(set.rules()[number].action, entities_[action])) {
        Add(set.rules()[number], number, by_action_[action]);
      }
    }
  }
}

uint32_t SliceIndex::NameOf(const std::string& text) {
  return names_.try_emplace(text, static_cast<uint32_t>(names_.size())).first->second;
}

uint32_t SliceIndex::TypeOf(const std::string& text) {
  return types_.try_emplace(text, static_cast<uint32_t>(types_.size())).first->second;
}

bool SliceIndex::IsAbout(const PolicyScope& action, const Placed& placed) const {
  if (action.kind == PolicyScope::Kind::kAny) {
    return true;
  }
  return std::any_of(action.entities.begin(), action.entities.end(), [&](const std::string& text) {
    const auto name = names_.find(text);
    if (name == names_.end()) {
      return false;
    }
    return name->second == placed.name ||
           (action.kind == PolicyScope::Kind::kIn &&
            std::count(placed.ancestors.begin(), placed.ancestors.end(), name->second) > 0);
  });
}

void SliceIndex::Add(const PolicyRule& rule, uint32_t number, OfAction& index) {
  using Kind = PolicyScope::Kind;
  const PolicyScope& scope = rule.principal;
  const bool typed = scope.kind == Kind::kIs || scope.kind == Kind::kIsIn;
  const Entry entry = {.rule = number,
                       .type = typed ? TypeOf(scope.type) : kAnyType,
                       .exact = scope.kind == Kind::kEqual};
  if (scope.kind == Kind::kAny || scope.kind == Kind::kIs) {
    index.everyone.push_back(entry);
  } else {
    index.by_entity[NameOf(scope.entities.at(0))].push_back(entry);
  }
}

void SliceIndex::Find(PolicyEntityIndex principal,
                      PolicyEntityIndex action,
                      std::vector<uint32_t>& rules) const {
  CHECK(principal.value() < entities_.size() && action.value() < entities_.size());
  rules.clear();
  const Placed& who = entities_[principal.value()];
  const OfAction& index = by_action_[action.value()];
  const auto take = [&](const std::vector<Entry>& entries, bool is_itself) {
    for (const Entry& entry : entries) {
      if ((entry.type == kAnyType || entry.type == who.type) && (!entry.exact || is_itself)) {
        rules.push_back(entry.rule);
      }
    }
  };
  take(index.everyone, true);
  const auto take_of = [&](uint32_t name, bool is_itself) {
    if (const auto found = index.by_entity.find(name); found != index.by_entity.end()) {
      take(found->second, is_itself);
    }
  };
  take_of(who.name, true);
  for (const uint32_t ancestor : who.ancestors) {
    take_of(ancestor, false);
  }
  std::sort(rules.begin(), rules.end());
}

}  // namespace inferd
