// Entry bundles of strangers: an error, or leaves that are written again byte for byte.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "governance/verify/tiles.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inferd;  // NOLINT(google-build-using-namespace)
  if (size == 0) {
    return 0;
  }
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto leaves = ParseBundle(bytes, data[0]);
  if (leaves.ok()) {
    CHECK(leaves->size() == data[0]);
    std::string again;
    for (const std::string_view leaf : *leaves) {
      AppendEntry(again, leaf);
    }
    CHECK(again == bytes);
  }
  return 0;
}
