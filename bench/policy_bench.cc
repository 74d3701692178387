// policy_bench [--sets N] [--seconds S]: what a policy decision costs, and whether it is right.
//   equal   N random sets of 80 rules, 100 requests each: by slices and out of the cache, against
//           Cedar's authorizer over the whole set
//   decide  500 rules of which 10 can apply to the principal and the action; entities prebuilt; no
//           cache: time of a decision
//   cached  the same request again and again, cache on
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "governance/policy/policy_authorizer.h"
#include "tests/support/random_policy.h"

namespace inferd {
namespace {

constexpr char kSchema[] = R"(namespace Inferd {
  entity Tenant;
  entity Role;
  entity Workload in [Tenant, Role] { tier: Long };
  entity Model { classes: Set<String> };
  action generate, embed appliesTo {
    principal: Workload,
    resource: Model,
    context: {
      purpose?: String, data_class?: String, source?: ipaddr, max_tokens: Long, time: datetime
    }
  };
}
)";
constexpr size_t kRules = 500;
constexpr size_t kMatching = 10;

struct Arguments {
  uint64_t num_sets = 250;
  double seconds = 5;
};

// Rules as an operator has them: most about one tenant, some about all; one in four forbids.
std::string Policies() {
  std::string text;
  for (size_t i = 0; i < kRules; ++i) {
    const bool forbid = i % 4 == 3;
    const size_t tenant = i < kMatching ? 0 : i;
    text += forbid ? "forbid" : "permit";
    text += absl::StrFormat(
        "(principal in Inferd::Tenant::\"t%d\", action == Inferd::Action::\"generate\", "
        "resource)\n",
        tenant);
    text += forbid ? "when { context has data_class && "
                     "!resource.classes.contains(context.data_class) };\n"
                   : absl::StrFormat(
                         "when { context.max_tokens <= %d && principal.tier >= 1 }\n"
                         "unless { context has purpose && context.purpose == \"p%d\" };\n",
                         4096 + i,
                         i);
  }
  return text;
}

constexpr char kEntities[] = R"([
  {"uid": {"type": "Inferd::Tenant", "id": "t0"}, "attrs": {}, "parents": []},
  {"uid": {"type": "Inferd::Role", "id": "tenant-user"}, "attrs": {}, "parents": []},
  {"uid": {"type": "Inferd::Workload", "id": "spiffe://example.org/w"}, "attrs": {"tier": 2},
   "parents": [{"type": "Inferd::Tenant", "id": "t0"},
               {"type": "Inferd::Role", "id": "tenant-user"}]},
  {"uid": {"type": "Inferd::Model", "id": "m"},
   "attrs": {"classes": ["public", "internal"]}, "parents": []}])";

template <typename T>
T Value(StatusOr<T> result) {
  if (!result.ok()) {
    std::fprintf(stderr, "policy_bench: %s\n", result.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(result);
}

// One of the time's requests, each with another number of tokens.
class Requests {
 public:
  explicit Requests(const PolicyAuthorizer& authorizer) : authorizer_(authorizer) {
    const PolicyEntities& entities = authorizer.entities();
    principal_ = entities.Find("Inferd::Workload", "spiffe://example.org/w").value();
    action_ = entities.Find("Inferd::Action", "generate").value();
    resource_ = entities.Find("Inferd::Model", "m").value();
  }
  // The time it took, in microseconds.
  double Ask(int64_t max_tokens) {
    context_[3].value = max_tokens;
    const TimePoint start = SystemClock().Now();
    const auto decision = authorizer_.Decide(
        {.principal = principal_, .action = action_, .resource = resource_, .context = context_});
    const Duration took = SystemClock().Now() - start;
    CHECK(decision.ok() && (*decision)->allowed);
    return std::chrono::duration<double, std::micro>(took).count();
  }

 private:
  const PolicyAuthorizer& authorizer_;
  PolicyEntityIndex principal_, action_, resource_;
  std::vector<PolicyAttribute> context_ = {
      {.name = "purpose", .value = std::string_view("support-chat")},
      {.name = "data_class", .value = std::string_view("internal")},
      {.name = "source", .value = PolicyIp{"10.1.2.3"}},
      {.name = "max_tokens", .value = int64_t{0}},
      {.name = "time", .value = PolicyDatetime{"2026-01-31T23:59:59.123Z"}}};
};

void Measure(const char* name,
             const PolicyAuthorizer& authorizer,
             int64_t distinct,
             double seconds) {
  Requests requests(authorizer);
  std::vector<double> micros;
  const TimePoint end = SystemClock().Now() + std::chrono::duration_cast<Duration>(
                                                  std::chrono::duration<double>(seconds));
  for (int64_t i = 0; i < 1000 || SystemClock().Now() < end; ++i) {
    micros.push_back(requests.Ask(1 + i % distinct));
  }
  std::sort(micros.begin(), micros.end());
  const auto at = [&](double part) {
    return micros[static_cast<size_t>(part * static_cast<double>(micros.size() - 1))];
  };
  std::printf("RESULT policy.p50_us%s %.3f us\n", name, at(0.5));
  std::printf("RESULT policy.p99_us%s %.3f us\n", name, at(0.99));
}

void Decide(const Arguments& arguments) {
  const TimePoint start = SystemClock().Now();
  const PolicySet::Pointer set = Value(PolicySet::Parse(kSchema, Policies()));
  std::printf("RESULT policy.load_500_rules_ms %.1f ms\n",
              std::chrono::duration<double, std::milli>(SystemClock().Now() - start).count());
  const auto plain = Value(PolicyAuthorizer::Make(set, kEntities, {.num_cached = 0}));
  Measure("_500_rules", *plain, 4000, arguments.seconds);
  const auto cached = Value(PolicyAuthorizer::Make(set, kEntities, {}));
  Measure("_cached", *cached, 1, arguments.seconds);
}

void Equal(const Arguments& arguments) {
  uint64_t policies = 0;
  uint64_t requests = 0;
  uint64_t erred = 0;
  uint64_t mismatches = 0;
  for (uint64_t seed = 1; seed <= arguments.num_sets; ++seed) {
    const RandomPolicyOptions options = {
        .seed = seed, .num_policies = 80, .num_requests = 100, .valid = seed % 2 == 0};
    const RandomPolicyCase random = MakeRandomPolicyCase(options);
    const auto set = Value(options.valid ? PolicySet::Parse(random.schema, random.policies)
                                         : PolicySet::ParseUnvalidatedForTest(random.policies));
    const auto authorizer = Value(PolicyAuthorizer::Make(set, random.entities_json, {}));
    for (const RecordedRequest& recorded : random.requests) {
      const auto bound = Value(BoundRequest::Bind(recorded, authorizer->entities()));
      const PolicyDecision whole = Value(authorizer->DecideByWholeSet(bound.get()));
      for (int time = 0; time < 2; ++time) {  // the second out of the cache
        mismatches += *Value(authorizer->Decide(bound.get())) == whole ? 0 : 1;
      }
      ++requests;
      erred += whole.num_erred > 0 ? 1 : 0;
    }
    policies += set->rules().size();
  }
  std::printf("policies %lu, requests %lu, with errors %lu\n", policies, requests, erred);
  std::printf("RESULT policy.mismatches %lu count\n", mismatches);
}

int Main(int argc, char** argv) {
  CLI::App app("what a policy decision costs, and whether it is right");
  Arguments arguments;
  app.add_option("--sets", arguments.num_sets, "random policy sets of 80 rules to compare");
  app.add_option("--seconds", arguments.seconds, "of each timing");
  CLI11_PARSE(app, argc, argv);
  Decide(arguments);
  Equal(arguments);
  return 0;
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) { return inferd::Main(argc, argv); }
