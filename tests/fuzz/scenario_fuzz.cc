// The scenario format: any text is an error with its place, or a scenario that its own text gives
// again.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "tests/simulation/scenario.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inferd;  // NOLINT(google-build-using-namespace): outside of any namespace
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto scenario = sim::ParseScenario(text, "fuzz");
  if (!scenario.ok()) {
    CHECK(Message(scenario.status()).starts_with("fuzz:"));
    return 0;
  }
  constexpr size_t kLargest = 2000;  // requests: writing out more takes too long to be of use
  if (scenario->workload.submissions.size() > kLargest) {
    return 0;
  }
  const std::string written = sim::ToText(*scenario);
  const auto again = sim::ParseScenario(written, "fuzz");
  CHECK(again.ok());
  CHECK(sim::ToText(*again) == written);
  return 0;
}
