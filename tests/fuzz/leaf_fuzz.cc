// Leaves of strangers. What our reader takes, another library must take too, and write again byte
// for byte: that is what canonical means.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/check.h"
#include "governance/verify/chain_checker.h"
#include "governance/verify/leaf_view.h"
#include "governance/verify/merkle.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inferd;  // NOLINT(google-build-using-namespace)
  const std::string_view leaf(reinterpret_cast<const char*>(data), size);
  const auto view = ParseLeaf(leaf);
  if (view.ok()) {
    const auto json = nlohmann::json::parse(leaf, nullptr, false);
    CHECK(!json.is_discarded() && json.is_object());
    CHECK(json.dump() == leaf);
    CHECK(json["tseq"].get<uint64_t>() == view->tseq);
    CHECK(view->adm.has_value() == json.contains("adm"));
  }
  ChainChecker chains;
  chains.StartShard("o");
  for (uint64_t index = 0; index < 2; ++index) {
    chains.Add(index, leaf, LeafHash(leaf), [](auto, auto) {}, [](auto, auto) {});
  }
  return 0;
}
