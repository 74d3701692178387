// PolicySet: the rules that say who may do what, in Cedar's language (cedarpolicy.com), with the
// schema they were validated against. docs/policy.md describes the language for operators.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"

struct RustPolicySet;

namespace inferd {

enum class PolicyEffect : uint8_t { kPermit, kForbid };
std::string_view Name(PolicyEffect effect);

// What an allowed request must still be subject to: from the annotation
// @obligations("local_only, max_tokens=1024").
struct PolicyObligation {
  std::string name{};   // local_only, redact or max_tokens
  std::string value{};  // of max_tokens: a number from 1 to 2^31 - 1
  // As in the annotation: max_tokens=1024.
  std::string Text() const;
  friend auto operator<=>(const PolicyObligation&, const PolicyObligation&) = default;
};

// Which principals, or which actions, a rule is about.
struct PolicyScope {
  enum class Kind : uint8_t { kAny, kEqual, kIn, kIs, kIsIn };
  Kind kind = Kind::kAny;
  std::string type{};                   // kIs, kIsIn: the principal's
  std::vector<std::string> entities{};  // Type::"id"; more than one only of an action
};

struct PolicyRule {
  std::string id{};  // of @id("..."), else policy<place>
  PolicyEffect effect = PolicyEffect::kForbid;
  std::vector<PolicyObligation> obligations{};  // of a permit
  PolicyScope principal{};
  PolicyScope action{};
  std::string text{};  // as written
  // Where it begins in the policies' text, from 1.
  uint32_t line = 0;
  uint32_t column = 0;
};

// Immutable, thread-safe.
class PolicySet {
 public:
  ~PolicySet();
  PolicySet(const PolicySet&) = delete;
  PolicySet& operator=(const PolicySet&) = delete;

  // Shared: decisions under way go on with the set they began with while another becomes active.
  using Pointer = std::shared_ptr<const PolicySet>;

  // kInvalidArgument: a line for each mistake, "policies:LINE:COLUMN: what" or "schema:...".
  static StatusOr<Pointer> Parse(std::string_view schema, std::string_view policies);
  // What document() returned.
  static StatusOr<Pointer> FromDocument(std::string_view document);
  // Without a schema, so that policies may err as validated ones cannot.
  static StatusOr<Pointer> ParseUnvalidatedForTest(std::string_view policies);

  // The canonical form: a head line "inferd-policy-set v1 <schema bytes> <policies bytes>", the
  // schema, the policies; in both, line ends are \n. digest() is its SHA-256, which is the set's
  // name: any change of schema or policies, comments included, makes another set.
  const std::string& document() const { return document_; }
  const Digest& digest() const { return digest_; }
  std::string_view schema_text() const;
  std::string_view policies_text() const;

  // In the order of the text.
  const std::vector<PolicyRule>& rules() const { return rules_; }
  // May a decision depend on the value of this attribute of the context?
  bool MayDependOn(std::string_view context_attribute) const;
  // Of the validator, a line each; empty if there are none.
  const std::string& warnings() const { return warnings_; }

  // For what evaluates it. Never null.
  const RustPolicySet* handle() const { return handle_; }

 private:
  PolicySet() = default;
  static StatusOr<Pointer> Make(std::string_view schema, std::string_view policies);
  Status ReadDescription(const std::string& json);

  std::string document_;
  size_t head_bytes_ = 0;
  size_t schema_bytes_ = 0;
  Digest digest_;
  std::vector<PolicyRule> rules_;
  std::optional<std::vector<std::string>> context_;  // sorted; absent: all of it
  std::string warnings_;
  RustPolicySet* handle_ = nullptr;  // owned
};

}  // namespace inferd
