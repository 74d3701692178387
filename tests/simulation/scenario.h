// Scenario: a workload and what is expected of it, as text that a person can read and review.
// docs/simulator.md describes the format; examples are in tests/scenarios.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tests/simulation/workload.h"

namespace inferd::sim {

// `subject metric comparison value`: acme ttft.p50 <= 3s.
struct Expectation {
  enum class Comparison : uint8_t { kAtMost, kAtLeast, kEqual };
  int line = 0;         // of the scenario
  std::string subject;  // a tenant, a request, "everyone" or "device"
  std::string other;    // of a pair: the second tenant, or the request that ends later
  std::string metric;
  Comparison comparison = Comparison::kEqual;
  double value = 0;  // seconds for times, per cent for shares
};

struct Scenario {
  std::string name;
  std::string group;
  std::string description;
  Workload workload;
  std::vector<Expectation> expectations;
};

// kInvalidArgument says line and column: "name:12:8: ...". `name` is what errors call the text.
StatusOr<Scenario> ParseScenario(std::string_view text, std::string_view name);

// The scenario as text that parses to the same scenario: generators are written out, request by
// request.
std::string ToText(const Scenario& scenario);

// Bounds of what a scenario may ask for, so that a short text cannot fill the memory.
inline constexpr size_t kSubmissionsMax = 100'000;
inline constexpr int64_t kPromptTokensMax = 1 << 20;

}  // namespace inferd::sim
