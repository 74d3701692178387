// inferd_random_policies [--seed S] [--cases N] [--policies P] [--requests R]: random policies and
// what is decided by them, for a judge: a JSON object a line,
//   {"seed", "schema" (absent where the policies are not valid), "policies", "effects": ["permit"],
//    "entities": [], "requests": [], "decisions": [{"allowed", "rules", "erred"}]}
// Rules are numbers, counted from 0 in the order of the text.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "governance/policy/policy_authorizer.h"
#include "tests/support/random_policy.h"

namespace inferd {
namespace {

using Json = nlohmann::json;

StatusOr<Json> CaseOf(const RandomPolicyOptions& options) {
  const RandomPolicyCase random = MakeRandomPolicyCase(options);
  ASSIGN_OR_RETURN(const auto set,
                   options.valid ? PolicySet::Parse(random.schema, random.policies)
                                 : PolicySet::ParseUnvalidatedForTest(random.policies));
  ASSIGN_OR_RETURN(const auto authorizer, PolicyAuthorizer::Make(set, random.entities_json, {}));
  Json result = {{"seed", options.seed},
                 {"policies", random.policies},
                 {"effects", Json::array()},
                 {"entities", Json::parse(random.entities_json)},
                 {"requests", Json::array()},
                 {"decisions", Json::array()}};
  if (options.valid) {
    result["schema"] = random.schema;
  }
  std::map<std::string, size_t> numbers;
  for (const PolicyRule& rule : set->rules()) {
    numbers.emplace(rule.id, numbers.size());
    result["effects"].push_back(Name(rule.effect));
  }
  const auto numbered = [&](const std::vector<std::string>& ids) {
    Json list = Json::array();
    for (const std::string& id : ids) {
      list.push_back(numbers.at(id));
    }
    return list;
  };
  for (const RecordedRequest& recorded : random.requests) {
    ASSIGN_OR_RETURN(const auto bound, BoundRequest::Bind(recorded, authorizer->entities()));
    ASSIGN_OR_RETURN(const auto decision, authorizer->Decide(bound.get()));
    result["requests"].push_back(Json::parse(ToJson(recorded)));
    result["decisions"].push_back({{"allowed", decision->allowed},
                                   {"rules", numbered(decision->rules)},
                                   {"erred", numbered(decision->erred)}});
  }
  return result;
}

int Main(int argc, char** argv) {
  CLI::App app("random policies, and what is decided by them");
  RandomPolicyOptions options;
  options.num_policies = 20;  // below kPolicyRulesNamedMax, so that decisions name all rules
  uint64_t cases = 10;
  app.add_option("--seed", options.seed, "of the first case");
  app.add_option("--cases", cases, "how many");
  app.add_option("--policies", options.num_policies, "of a case")->check(CLI::Range(0, 32));
  app.add_option("--requests", options.num_requests, "of a case");
  CLI11_PARSE(app, argc, argv);
  for (uint64_t i = 0; i < cases; ++i) {
    options.valid = options.seed % 2 == 0;
    const auto made = CaseOf(options);
    if (!made.ok()) {
      std::fprintf(stderr, "seed %lu: %s\n", options.seed, made.status().ToString().c_str());
      return 1;
    }
    std::printf("%s\n", made->dump().c_str());
    ++options.seed;
  }
  return 0;
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) { return inferd::Main(argc, argv); }
