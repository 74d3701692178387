#include "governance/policy/policy_entities.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "governance/policy/rust_policy.h"

namespace inferd {
namespace {

using Json = nlohmann::json;

std::string Key(std::string_view type, std::string_view id) {
  std::string key;
  key.reserve(type.size() + 1 + id.size());
  key.append(type);
  key.push_back('\0');
  key.append(id);
  return key;
}

Json NameJson(const PolicyEntityName& name) { return {{"type", name.type}, {"id", name.id}}; }

}  // namespace

std::string EntitiesJson(std::span<const PolicyEntity> entities) {
  Json list = Json::array();
  for (const PolicyEntity& entity : entities) {
    Json attributes = Json::object();
    for (const auto& [key, value] : entity.attributes) {
      std::visit([&, &name = key](const auto& held) { attributes[name] = held; }, value);
    }
    Json parents = Json::array();
    for (const PolicyEntityName& parent : entity.parents) {
      parents.push_back(NameJson(parent));
    }
    list.push_back({{"uid", NameJson(entity.name)},
                    {"attrs", std::move(attributes)},
                    {"parents", std::move(parents)}});
  }
  return list.dump(-1, ' ', false, Json::error_handler_t::replace);
}

PolicyEntities::~PolicyEntities() { RustPolicyEntitiesFree(handle_); }

StatusOr<std::unique_ptr<PolicyEntities>> PolicyEntities::FromJson(PolicySet::Pointer set,
                                                                   std::string_view json) {
  std::unique_ptr<PolicyEntities> entities(new PolicyEntities());
  RustBuffer description{};
  RustBuffer error{};
  const RustCode code = RustPolicyEntitiesNew(
      set->handle(), policy_internal::AsSlice(json), &entities->handle_, &description, &error);
  if (code != kRustOk) {
    return policy_internal::TakeError(code, error);
  }
  const Json described =
      Json::parse(policy_internal::TakeString(description), nullptr, /*allow_exceptions=*/false);
  for (const Json& one : described) {
    const auto number = static_cast<uint32_t>(entities->described_.size());
    entities->index_.emplace(Key(one.at("type").get_ref<const std::string&>(),
                                 one.at("id").get_ref<const std::string&>()),
                             number);
    entities->described_.push_back(
        {.type = one.at("type"), .text = one.at("text"), .ancestors = one.at("ancestors")});
  }
  entities->set_ = std::move(set);
  return entities;
}

std::optional<PolicyEntityIndex> PolicyEntities::Find(std::string_view type,
                                                      std::string_view id) const {
  const auto found = index_.find(Key(type, id));
  if (found == index_.end()) {
    return std::nullopt;
  }
  return PolicyEntityIndex(found->second);
}

}  // namespace inferd
