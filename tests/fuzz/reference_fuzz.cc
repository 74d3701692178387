// How callers ask for models: an error that does not repeat what they wrote, or a reference that
// reads the same when it is written again.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "governance/registry/model_reference.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inferd;  // NOLINT(google-build-using-namespace)
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto reference = ParseModelReference(text);
  if (!reference.ok()) {
    return 0;
  }
  CHECK(IsModelReferencePart(reference->name));
  const auto again = ParseModelReference(reference->Text());
  CHECK(again.ok() && *again == *reference);
  CHECK(reference->Text().size() == text.size());
  return 0;
}
