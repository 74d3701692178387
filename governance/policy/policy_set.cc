#include "governance/policy/policy_set.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/sha256.h"
#include "governance/policy/rust_policy.h"

namespace inferd {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kHead = "inferd-policy-set v1 ";
constexpr int64_t kMaxTokensMax = std::numeric_limits<int32_t>::max();

std::string WithoutCarriageReturns(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r' || i + 1 == text.size() || text[i + 1] != '\n') {
      result += text[i];
    }
  }
  return result;
}

std::string_view Trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\n");
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
}

std::optional<int64_t> Integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

StatusOr<PolicyObligation> ParseObligation(std::string_view text) {
  const size_t equals = text.find('=');
  PolicyObligation obligation;
  obligation.name = Trimmed(text.substr(0, equals));
  if (equals != std::string_view::npos) {
    obligation.value = Trimmed(text.substr(equals + 1));
  }
  if (obligation.name == "max_tokens") {
    const auto tokens = Integer(obligation.value);
    if (tokens && *tokens >= 1 && *tokens <= kMaxTokensMax) {
      obligation.value = std::to_string(*tokens);
      return obligation;
    }
    return ErrorF(StatusCode::kInvalidArgument,
                  "obligation max_tokens needs a number from 1 to %d: max_tokens=1024",
                  kMaxTokensMax);
  }
  if (obligation.name != "local_only" && obligation.name != "redact") {
    return ErrorF(StatusCode::kInvalidArgument,
                  "'%s' is not an obligation: local_only, redact or max_tokens=N",
                  obligation.name);
  }
  if (equals != std::string_view::npos) {
    return ErrorF(StatusCode::kInvalidArgument, "obligation %s takes no value", obligation.name);
  }
  return obligation;
}

StatusOr<std::vector<PolicyObligation>> ParseObligations(std::string_view text) {
  std::vector<PolicyObligation> obligations;
  while (true) {
    const size_t comma = text.find(',');
    ASSIGN_OR_RETURN(auto obligation, ParseObligation(text.substr(0, comma)));
    obligations.push_back(std::move(obligation));
    if (comma == std::string_view::npos) {
      return obligations;
    }
    text.remove_prefix(comma + 1);
  }
}

PolicyScope ScopeOf(const Json& json) {
  using Kind = PolicyScope::Kind;
  const std::string& kind = json.at("op").get_ref<const std::string&>();
  PolicyScope scope;
  scope.kind = kind == "any"  ? Kind::kAny
               : kind == "eq" ? Kind::kEqual
               : kind == "in" ? Kind::kIn
               : kind == "is" ? Kind::kIs
                              : Kind::kIsIn;
  scope.type = json.value("type", "");
  if (json.contains("entities")) {
    scope.entities = json.at("entities").get<std::vector<std::string>>();
  } else if (json.contains("entity")) {
    scope.entities = {json.at("entity").get<std::string>()};
  }
  return scope;
}

StatusOr<PolicyRule> RuleOf(const Json& json) {
  PolicyRule rule;
  rule.id = json.at("id");
  rule.effect = json.at("effect") == "permit" ? PolicyEffect::kPermit : PolicyEffect::kForbid;
  rule.principal = ScopeOf(json.at("principal"));
  rule.action = ScopeOf(json.at("action"));
  rule.text = json.at("text");
  rule.line = json.at("line");
  rule.column = json.at("column");
  const Json& annotations = json.at("annotations");
  const auto obligations = annotations.find("obligations");
  if (obligations == annotations.end()) {
    return rule;
  }
  if (rule.effect == PolicyEffect::kForbid) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "policies:%d:%d: a forbid has no @obligations: nothing is done after it",
                  rule.line,
                  rule.column);
  }
  auto parsed = ParseObligations(obligations->get_ref<const std::string&>());
  if (!parsed.ok()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "policies:%d:%d: %s",
                  rule.line,
                  rule.column,
                  Message(parsed.status()));
  }
  rule.obligations = *std::move(parsed);
  return rule;
}

}  // namespace

std::string_view Name(PolicyEffect effect) {
  return effect == PolicyEffect::kPermit ? "permit" : "forbid";
}

std::string PolicyObligation::Text() const { return value.empty() ? name : name + '=' + value; }

PolicySet::~PolicySet() { RustPolicySetFree(handle_); }

StatusOr<PolicySet::Pointer> PolicySet::Parse(std::string_view schema, std::string_view policies) {
  if (Trimmed(schema).empty()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "schema: it is empty, and without one policies cannot be validated");
  }
  return Make(schema, policies);
}

StatusOr<PolicySet::Pointer> PolicySet::ParseUnvalidatedForTest(std::string_view policies) {
  return Make("", policies);
}

StatusOr<PolicySet::Pointer> PolicySet::Make(std::string_view schema, std::string_view policies) {
  const std::string schema_text = WithoutCarriageReturns(schema);
  const std::string policies_text = WithoutCarriageReturns(policies);
  std::shared_ptr<PolicySet> set(new PolicySet());
  RustBuffer description{};
  RustBuffer error{};
  const RustCode code = RustPolicySetNew(policy_internal::AsSlice(schema_text),
                                         policy_internal::AsSlice(policies_text),
                                         &set->handle_,
                                         &description,
                                         &error);
  if (code != kRustOk) {
    return policy_internal::TakeError(code, error);
  }
  RETURN_IF_ERROR(set->ReadDescription(policy_internal::TakeString(description)));
  const std::string head =
      absl::StrFormat("%s%d %d\n", kHead, schema_text.size(), policies_text.size());
  set->head_bytes_ = head.size();
  set->schema_bytes_ = schema_text.size();
  set->document_ = head + schema_text + policies_text;
  set->digest_ = Sha256Of(set->document_);
  return Pointer(std::move(set));
}

StatusOr<PolicySet::Pointer> PolicySet::FromDocument(std::string_view document) {
  const Status bad = ErrorF(StatusCode::kInvalidArgument,
                            "not the document of a policy set: its first line must be "
                            "'%s<schema bytes> <policies bytes>' and fit what follows",
                            kHead);
  const size_t line_end = document.find('\n');
  if (!document.starts_with(kHead) || line_end == std::string_view::npos) {
    return bad;
  }
  const std::string_view sizes = document.substr(kHead.size(), line_end - kHead.size());
  const std::string_view body = document.substr(line_end + 1);
  const size_t space = sizes.find(' ');
  if (space == std::string_view::npos) {
    return bad;
  }
  const auto schema_bytes = Integer(sizes.substr(0, space));
  if (!schema_bytes || *schema_bytes < 0 || static_cast<uint64_t>(*schema_bytes) > body.size()) {
    return bad;
  }
  const auto split = static_cast<size_t>(*schema_bytes);
  ASSIGN_OR_RETURN(auto set, Parse(body.substr(0, split), body.substr(split)));
  return set->document() == document ? StatusOr<Pointer>(std::move(set)) : bad;
}

std::string_view PolicySet::schema_text() const {
  return std::string_view(document_).substr(head_bytes_, schema_bytes_);
}

std::string_view PolicySet::policies_text() const {
  return std::string_view(document_).substr(head_bytes_ + schema_bytes_);
}

bool PolicySet::MayDependOn(std::string_view context_attribute) const {
  return !context_ || std::binary_search(context_->begin(), context_->end(), context_attribute);
}

Status PolicySet::ReadDescription(const std::string& json) {
  const Json description = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  for (const Json& policy : description.at("policies")) {
    ASSIGN_OR_RETURN(PolicyRule rule, RuleOf(policy));
    rules_.push_back(std::move(rule));
  }
  if (!description.at("context").is_null()) {
    context_ = description.at("context").get<std::vector<std::string>>();
    std::sort(context_->begin(), context_->end());
  }
  warnings_ = description.at("warnings");
  return OkStatus();
}

}  // namespace inferd
