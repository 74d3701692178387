// Random policy sets with entities and requests, from a seed: for whoever compares two ways to
// decide.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "governance/policy/recorded_request.h"

namespace inferd {

struct RandomPolicyOptions {
  uint64_t seed = 1;
  size_t num_policies = 40;
  size_t num_requests = 50;
  // The policies pass the validator; their evaluation fails only by overflow and by entities that
  // are not there. Otherwise also by attributes that are not there and by values of wrong types.
  bool valid = true;
};

struct RandomPolicyCase {
  std::string schema;
  std::string policies;
  std::string entities_json;
  std::vector<RecordedRequest> requests;
};

// The rules have scopes of every kind, conditions over hierarchies, sets, strings, patterns,
// numbers, addresses, decimals and times, and hit about half of the requests at least once. Many
// requests differ from another in one value alone.
RandomPolicyCase MakeRandomPolicyCase(const RandomPolicyOptions& options);

}  // namespace inferd
