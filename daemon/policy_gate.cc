#include "daemon/policy_gate.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "daemon/error_map.h"

namespace inferd {
namespace {

constexpr char kDaemonId[] = "this";

std::string TypeName(std::string_view type) { return "Inferd::" + std::string(type); }

PolicyEntityName CallerName(const Caller& caller) {
  if (!caller.key_id.empty()) {
    return {TypeName("ApiKey"), caller.key_id};
  }
  return {TypeName(caller.actor.kind == "human" ? "Person" : "Workload"), caller.actor.id};
}

PolicyEntityName SubjectName(const PolicyQuestion& question) {
  return question.model.empty() ? PolicyEntityName{TypeName("Daemon"), kDaemonId}
                                : PolicyEntityName{TypeName("Model"), std::string(question.model)};
}

void Append(std::string& key, std::string_view part) {
  key += std::to_string(part.size());
  key += ':';
  key += part;
}

// Everything that the entity is made of, so that a change of any makes another.
std::string MadeOf(const Caller& caller) {
  const PolicyEntityName name = CallerName(caller);
  std::string key = "caller ";
  for (const std::string_view part : {std::string_view(name.type),
                                      std::string_view(name.id),
                                      std::string_view(caller.tenant.value()),
                                      std::string_view(caller.organisation),
                                      std::string_view(caller.project)}) {
    Append(key, part);
  }
  for (const Role role : caller.roles) {
    Append(key, inferd::Name(role));
  }
  return key;
}

std::string MadeOf(const PolicyQuestion& question) {
  std::string key = "model ";
  Append(key, question.model);
  if (!question.model.empty()) {
    key += question.digest.Hex();
  }
  return key;
}

// The caller and what it is in.
std::vector<PolicyEntity> CallerEntities(const Caller& caller) {
  std::vector<PolicyEntity> around;
  PolicyEntity entity{.name = CallerName(caller)};
  const auto add = [&](PolicyEntity parent) {
    entity.parents.push_back(parent.name);
    around.push_back(std::move(parent));
  };
  if (!caller.tenant.value().empty()) {
    PolicyEntity tenant{.name = {TypeName("Tenant"), caller.tenant.value()}};
    if (!caller.organisation.empty()) {
      tenant.parents.push_back({TypeName("Org"), caller.organisation});
      around.push_back({.name = tenant.parents.front()});
    }
    if (!caller.project.empty()) {
      add({.name = {TypeName("Project"), caller.tenant.value() + "/" + caller.project},
           .parents = {tenant.name}});
    }
    add(std::move(tenant));
  }
  for (const Role role : caller.roles) {
    add({.name = {TypeName("Role"), std::string(inferd::Name(role))}});
  }
  around.push_back(std::move(entity));
  return around;
}

PolicyEntity SubjectEntity(const PolicyQuestion& question) {
  PolicyEntity entity{.name = SubjectName(question)};
  if (!question.model.empty()) {
    entity.attributes["name"] = std::string(question.model);
    entity.attributes["digest"] = "sha256:" + question.digest.Hex();
    entity.attributes["data_classes"] = std::vector<std::string>();
  }
  return entity;
}

Status Denied(const std::string& message) { return MakeError(Reason::kPolicyDenied, message); }

std::string Joined(const std::vector<std::string>& texts) {
  std::string joined;
  for (const std::string& text : texts) {
    joined += (joined.empty() ? "" : ", ") + text;
  }
  return joined;
}

}  // namespace

bool PolicyGate::View::Takes(const std::vector<PolicyEntity>& more) const {
  return asked.size() + 2 <= kEntitiesMax &&
         std::all_of(more.begin(), more.end(), [&](const PolicyEntity& entity) {
           const auto known = entities.find(entity.name);
           return known == entities.end() || known->second == entity;
         });
}

size_t PolicyGate::ViewFor(const std::vector<PolicyEntity>& entities) const {
  for (size_t i = 0; i < kViewsMax; ++i) {
    if (views_[i].Takes(entities)) {
      return i;
    }
  }
  const size_t emptied = oldest_;
  oldest_ = (oldest_ + 1) % kViewsMax;
  views_[emptied] = View();
  return emptied;
}

StatusOr<PolicyGate::ActivePointer> PolicyGate::Build(PolicySet::Pointer set, const View& view) {
  std::vector<PolicyEntity> list;
  for (const auto& [name, entity] : view.entities) {
    list.push_back(entity);
  }
  auto active = std::make_shared<Active>();
  active->set = set;
  ASSIGN_OR_RETURN(active->authorizer,
                   PolicyAuthorizer::Make(std::move(set), EntitiesJson(list), {}));
  for (const auto& [made_of, name] : view.asked) {
    const auto index = active->authorizer->entities().Find(name.type, name.id);
    if (index.has_value()) {
      active->index.emplace(made_of, *index);
    }
  }
  return ActivePointer(std::move(active));
}

PolicyGate::ActivePointer PolicyGate::Known(const PolicySet::Pointer& set,
                                            const std::string& caller,
                                            const std::string& subject) const {
  MutexLock lock(mutex_);
  for (const ActivePointer& active : active_) {
    if (active != nullptr && active->set == set && active->index.contains(caller) &&
        active->index.contains(subject)) {
      return active;
    }
  }
  return nullptr;
}

StatusOr<PolicyGate::ActivePointer> PolicyGate::Knowing(const Caller& caller,
                                                        const PolicyQuestion& question) const {
  const std::string of_caller = MadeOf(caller);
  const std::string of_subject = MadeOf(question);
  PolicySet::Pointer set = store_.active();
  if (set == nullptr) {
    return Denied("there is no active policy set");
  }
  if (ActivePointer known = Known(set, of_caller, of_subject); known != nullptr) {
    return known;
  }
  MutexLock building(build_mutex_);
  if (ActivePointer known = Known(set, of_caller, of_subject); known != nullptr) {
    return known;  // another call met the same
  }
  std::vector<PolicyEntity> entities = CallerEntities(caller);
  entities.push_back(SubjectEntity(question));
  const size_t number = ViewFor(entities);
  ++num_builds_;
  // What does not fit the set must stay in no view, or nobody new would be decided about any more;
  // neither must what fitted another set.
  View next = views_[number];
  StatusOr<ActivePointer> built = Status(StatusCode::kInternal, "");
  for (const bool with_others : {true, false}) {
    if (!with_others) {
      next = View();
    }
    next.asked[of_caller] = CallerName(caller);
    next.asked[of_subject] = SubjectName(question);
    for (const PolicyEntity& entity : entities) {
      next.entities.insert_or_assign(entity.name, entity);
    }
    built = Build(set, next);
    if (built.ok()) {
      views_[number] = std::move(next);
      MutexLock lock(mutex_);
      active_[number] = *built;
      break;
    }
  }
  return built;
}

uint64_t PolicyGate::num_builds() const {
  MutexLock building(build_mutex_);
  return num_builds_;
}

StatusOr<PolicyAnswer> PolicyGate::Ask(const Caller& caller,
                                       const PolicyQuestion& question,
                                       PolicyFacts* denied) const {
  if (denied != nullptr) {
    *denied = {.dec = "deny"};  // and more where a set decided
  }
  const auto active = Knowing(caller, question);
  if (!active.ok()) {
    return HasReason(active.status()) ? active.status()
                                      : Denied(absl::StrFormat("the policy set does not fit: %s",
                                                               Message(active.status())));
  }
  const PolicyAuthorizer& authorizer = *(*active)->authorizer;
  const PolicyEntities& entities = authorizer.entities();
  const std::string time = DatetimeText(clock_.WallNow());
  std::vector<PolicyAttribute> context = {{.name = "time", .value = PolicyDatetime{time}}};
  if (!question.address.empty()) {
    context.push_back({.name = "source", .value = PolicyIp{question.address}});
  }
  if (!question.model.empty()) {
    context.push_back({.name = "max_tokens", .value = question.max_tokens});
  }
  const auto action = entities.Find(TypeName("Action"), question.action);
  if (!action.has_value()) {
    return Denied(absl::StrFormat("the policy set's schema has no action %s", question.action));
  }
  const auto decision = authorizer.Decide({.principal = (*active)->index.at(MadeOf(caller)),
                                           .action = *action,
                                           .resource = (*active)->index.at(MadeOf(question)),
                                           .context = context});
  if (!decision.ok()) {
    return Denied("nothing was decided: the request does not fit the policy set's schema");
  }
  PolicyAnswer answer;
  answer.facts = {.dec = std::string((*decision)->Name()),
                  .set = (*active)->set->digest(),
                  .rules = (*decision)->rules};
  const auto refuse = [&](const std::string& why) -> Status {
    answer.facts.dec = "deny";
    if (denied != nullptr) {
      *denied = answer.facts;
    }
    return Denied(
        absl::StrFormat("%s (policy set %s)", why, (*active)->set->digest().Hex().substr(0, 16)));
  };
  if (!(*decision)->allowed) {
    return refuse(
        (*decision)->rules.empty()
            ? absl::StrFormat("no rule permits %s", question.action)
            : absl::StrFormat("%s is denied by %s", question.action, Joined((*decision)->rules)));
  }
  for (const PolicyObligation& obligation : (*decision)->obligations) {
    answer.facts.obl.push_back(obligation.Text());
    if (obligation.name == "max_tokens") {
      std::from_chars(obligation.value.data(),
                      obligation.value.data() + obligation.value.size(),
                      answer.max_tokens);
    } else if (obligation.name != "local_only") {  // nothing leaves this host
      return refuse(absl::StrFormat("the obligation %s cannot be met here", obligation.Text()));
    }
  }
  return answer;
}

}  // namespace inferd
