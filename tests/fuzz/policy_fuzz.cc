// Policy texts of strangers, through the adapter: schema, policies and, if given, entities and
// requests, in this order, between lines "----". An error, or a set that is what its document says;
// decisions by slices, out of the cache and by Cedar's authorizer are one.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "governance/policy/policy_authorizer.h"
#include "governance/policy/policy_review.h"
#include "governance/policy/recorded_request.h"

namespace inferd {
namespace {

constexpr std::string_view kBetween = "\n----\n";

std::string_view Part(std::string_view& text) {
  const size_t end = text.find(kBetween);
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + kBetween.size());
  return part;
}

// A text within its bounds is read within bounds of time and memory.
void CheckError(const Status& status) {
  CHECK(status.code() == StatusCode::kInvalidArgument);
  CHECK(!Message(status).empty());
}

void Decide(const PolicySet::Pointer& set, std::string_view entities, std::string_view requests) {
  const auto authorizer = PolicyAuthorizer::Make(set, entities, {.num_cached = 64});
  if (!authorizer.ok()) {
    CheckError(authorizer.status());
    return;
  }
  const auto lines = ParseRecordedRequests(requests);
  if (!lines.ok()) {
    return;
  }
  for (const RecordedLine& line : *lines) {
    const auto bound = BoundRequest::Bind(line.request, (*authorizer)->entities());
    if (!bound.ok()) {
      continue;
    }
    const auto whole = (*authorizer)->DecideByWholeSet(bound->get());
    for (int time = 0; time < 2; ++time) {
      const auto decision = (*authorizer)->Decide(bound->get());
      CHECK(decision.ok() == whole.ok());
      CHECK(!decision.ok() || **decision == *whole);
    }
  }
}

}  // namespace
}  // namespace inferd

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inferd;  // NOLINT(google-build-using-namespace)
  std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)PolicySet::FromDocument(text);
  const std::string_view schema = Part(text);
  const std::string_view policies = Part(text);
  const std::string_view entities = Part(text);
  for (const auto& set :
       {PolicySet::Parse(schema, policies), PolicySet::ParseUnvalidatedForTest(policies)}) {
    if (!set.ok()) {
      CheckError(set.status());
      continue;
    }
    if (!(*set)->schema_text().empty()) {
      const auto again = PolicySet::FromDocument((*set)->document());
      CHECK(again.ok() && (*again)->digest() == (*set)->digest());
      CHECK(Diff(**set, **again).empty());
    }
    Decide(*set, entities, text);
  }
  return 0;
}
