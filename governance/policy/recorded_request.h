// RecordedRequest: a request to a policy as a line of JSON, for tests of policies and simulations
// over past traffic. docs/policy.md shows the form.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"
#include "governance/policy/policy_entities.h"
#include "governance/policy/policy_request.h"

namespace inferd {

// A value of one of Cedar's extension types, as its constructor and its argument.
struct RecordedExtension {
  std::string function{};  // ip, decimal or datetime
  std::string argument{};
  friend bool operator==(const RecordedExtension&, const RecordedExtension&) = default;
};
using RecordedValue = std::variant<bool, int64_t, std::string, RecordedExtension>;

struct RecordedRequest {
  PolicyEntityName principal{};
  PolicyEntityName action{};
  PolicyEntityName resource{};
  std::vector<std::pair<std::string, RecordedValue>> context{};
  // What a test expects.
  std::optional<bool> allowed{};
  std::optional<std::vector<std::string>> rules{};
};

// {"principal": {"type", "id"}, "action": {...}, "resource": {...}, "context": {...},
//  "expect": "allow" | "deny", "rules": ["id"]}
// context, expect and rules may be absent; other members, and values of context that are neither
// Boolean, integer, string nor {"__extn": {"fn", "arg"}}, are kInvalidArgument.
StatusOr<RecordedRequest> ParseRecordedRequest(std::string_view json);
std::string ToJson(const RecordedRequest& request);

// A file of them: one a line; empty lines, and those that begin with #, are left out. Errors name
// the line.
struct RecordedLine {
  size_t line = 0;  // from 1
  RecordedRequest request{};
};
StatusOr<std::vector<RecordedLine>> ParseRecordedRequests(std::string_view text);

// A PolicyRequest over a RecordedRequest, which outlives it.
class BoundRequest {
 public:
  // kNotFound if an entity is not among `entities`.
  static StatusOr<BoundRequest> Bind(const RecordedRequest& recorded,
                                     const PolicyEntities& entities);
  PolicyRequest get() const {
    return {.principal = principal_, .action = action_, .resource = resource_, .context = context_};
  }

 private:
  PolicyEntityIndex principal_, action_, resource_;
  std::vector<PolicyAttribute> context_;
};

}  // namespace inferd
