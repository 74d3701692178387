#include "governance/policy/policy_authorizer.h"

#include <numeric>
#include <utility>
#include <vector>

#include "governance/policy/rust_policy.h"

namespace inferd {
namespace {

static_assert(static_cast<uint8_t>(PolicyOutcome::kUnsatisfied) == kRustPolicyUnsatisfied);
static_assert(static_cast<uint8_t>(PolicyOutcome::kSatisfied) == kRustPolicySatisfied);
static_assert(static_cast<uint8_t>(PolicyOutcome::kErred) == kRustPolicyErred);

uint8_t* Raw(std::vector<PolicyOutcome>& outcomes) {
  return reinterpret_cast<uint8_t*>(outcomes.data());
}

void Append(std::string& key, const void* bytes, size_t size) {
  key.append(static_cast<const char*>(bytes), size);
}

void Append(std::string& key, std::string_view text) {
  const auto size = static_cast<uint32_t>(text.size());
  Append(key, &size, sizeof(size));
  key.append(text);
}

// What RustPolicyAttribute holds of a value.
struct Encoder {
  RustPolicyAttribute& to;
  void operator()(bool value) const {
    to.kind = kRustPolicyBool;
    to.integer = value ? 1 : 0;
  }
  void operator()(int64_t value) const {
    to.kind = kRustPolicyLong;
    to.integer = value;
  }
  void operator()(std::string_view value) const { Text(kRustPolicyString, value); }
  void operator()(const PolicyIp& value) const { Text(kRustPolicyIp, value.text); }
  void operator()(const PolicyDecimal& value) const { Text(kRustPolicyDecimal, value.text); }
  void operator()(const PolicyDatetime& value) const { Text(kRustPolicyDatetime, value.text); }
  void Text(RustPolicyKind kind, std::string_view text) const {
    to.kind = kind;
    to.text = policy_internal::AsSlice(text);
  }
};

// The kind whose text is not read: most of a decision's time would go to values that no rule asks
// for, such as `time` where no rule has hours.
RustPolicyKind Unread(RustPolicyKind kind) {
  switch (kind) {
    case kRustPolicyIp:
      return kRustPolicyUnreadIp;
    case kRustPolicyDecimal:
      return kRustPolicyUnreadDecimal;
    case kRustPolicyDatetime:
      return kRustPolicyUnreadDatetime;
    default:
      return kind;
  }
}

// A request as the C interface takes it; borrows from it. With `set`, leaves out what none of its
// rules reads.
class Encoded {
 public:
  explicit Encoded(const PolicyRequest& request, const PolicySet* set = nullptr) {
    context_.reserve(request.context.size());
    for (const PolicyAttribute& attribute : request.context) {
      RustPolicyAttribute& to = context_.emplace_back();
      to.name = policy_internal::AsSlice(attribute.name);
      std::visit(Encoder{to}, attribute.value);
      if (set != nullptr && !set->MayDependOn(attribute.name)) {
        to.kind = Unread(to.kind);
      }
    }
    request_ = {.principal = request.principal.value(),
                .action = request.action.value(),
                .resource = request.resource.value(),
                .context = context_.data(),
                .context_count = context_.size()};
  }
  const RustPolicyRequest* get() const { return &request_; }

 private:
  std::vector<RustPolicyAttribute> context_;
  RustPolicyRequest request_{};
};

Status CheckEntities(const PolicyRequest& request, size_t count) {
  for (const PolicyEntityIndex index : {request.principal, request.action, request.resource}) {
    if (index.value() >= count) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "policy request names entity %d of %d: it was made for other entities",
                    index.value(),
                    count);
    }
  }
  return OkStatus();
}

}  // namespace

StatusOr<std::unique_ptr<PolicyAuthorizer>> PolicyAuthorizer::Make(PolicySet::Pointer set,
                                                                   std::string_view entities_json,
                                                                   const Options& options) {
  ASSIGN_OR_RETURN(auto entities, PolicyEntities::FromJson(set, entities_json));
  return std::unique_ptr<PolicyAuthorizer>(
      new PolicyAuthorizer(std::move(set), std::move(entities), options));
}

PolicyAuthorizer::PolicyAuthorizer(PolicySet::Pointer set,
                                   std::unique_ptr<PolicyEntities> entities,
                                   const Options& options)
    : set_(std::move(set)),
      entities_(std::move(entities)),
      slices_(*set_, *entities_),
      cache_(options.num_cached) {}

// Names and kinds of all attributes, since the schema's check depends on them; values only of those
// that a rule mentions.
std::string PolicyAuthorizer::CacheKey(const PolicyRequest& request) const {
  std::string key;
  key.reserve(256);
  for (const PolicyEntityIndex index : {request.principal, request.action, request.resource}) {
    const uint32_t number = index.value();
    Append(key, &number, sizeof(number));
  }
  for (const PolicyAttribute& attribute : request.context) {
    RustPolicyAttribute raw{};
    std::visit(Encoder{raw}, attribute.value);
    Append(key, attribute.name);
    key.push_back(static_cast<char>(raw.kind));
    if (set_->MayDependOn(attribute.name)) {
      Append(key, &raw.integer, sizeof(raw.integer));
      Append(key, std::string_view(raw.text.data, raw.text.size));
    }
  }
  return key;
}

StatusOr<SharedPolicyDecision> PolicyAuthorizer::Decide(const PolicyRequest& request) const {
  const std::string key = CacheKey(request);
  if (SharedPolicyDecision known = cache_.Find(key)) {
    return known;
  }
  ASSIGN_OR_RETURN(PolicyDecision decision, Evaluate(request, nullptr));
  SharedPolicyDecision shared = std::make_shared<const PolicyDecision>(std::move(decision));
  cache_.Put(key, shared);
  return shared;
}

StatusOr<PolicyDecision> PolicyAuthorizer::Evaluate(const PolicyRequest& request,
                                                    std::string* messages) const {
  RETURN_IF_ERROR(CheckEntities(request, entities_->size()));
  std::vector<uint32_t> rules;
  slices_.Find(request.principal, request.action, rules);
  std::vector<PolicyOutcome> outcomes(rules.size());
  RustBuffer lines{};
  RustBuffer error{};
  const RustCode code = RustPolicyEvaluate(set_->handle(),
                                           entities_->handle(),
                                           Encoded(request, set_.get()).get(),
                                           rules.data(),
                                           rules.size(),
                                           Raw(outcomes),
                                           messages == nullptr ? nullptr : &lines,
                                           &error);
  if (code != kRustOk) {
    return policy_internal::TakeError(code, error);
  }
  if (messages != nullptr) {
    *messages = policy_internal::TakeString(lines);
  }
  return Combine(*set_, rules, outcomes);
}

StatusOr<PolicyDecision> PolicyAuthorizer::DecideByWholeSet(const PolicyRequest& request) const {
  RETURN_IF_ERROR(CheckEntities(request, entities_->size()));
  std::vector<PolicyOutcome> outcomes(set_->rules().size());
  uint8_t allowed = 0;
  RustBuffer error{};
  const RustCode code = RustPolicyAuthorize(
      set_->handle(), entities_->handle(), Encoded(request).get(), &allowed, Raw(outcomes), &error);
  if (code != kRustOk) {
    return policy_internal::TakeError(code, error);
  }
  std::vector<uint32_t> rules(outcomes.size());
  std::iota(rules.begin(), rules.end(), 0);
  PolicyDecision decision = Combine(*set_, rules, outcomes);
  // Cedar's word counts; what may be added to it is that an erroring forbid denies.
  bool erring_forbid = false;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    erring_forbid |=
        outcomes[i] == PolicyOutcome::kErred && set_->rules()[i].effect == PolicyEffect::kForbid;
  }
  decision.allowed = allowed != 0 && !erring_forbid;
  return decision;
}

StatusOr<std::string> PolicyAuthorizer::ExplainErrors(const PolicyRequest& request) const {
  std::string messages;
  RETURN_IF_ERROR(Evaluate(request, &messages));
  return messages;
}

}  // namespace inferd
