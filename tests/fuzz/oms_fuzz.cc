// Models' signatures of strangers: an error, or a statement that says the same when it is written
// again; and nobody's is trusted.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "governance/registry/model_signature.h"
#include "governance/registry/registry_change.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inferd;  // NOLINT(google-build-using-namespace)
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto statement = ParseModelStatement(text); statement.ok()) {
    const auto again = ParseModelStatement(FormatModelStatement(*statement));
    CHECK(again.ok() && *again == *statement);
  }
  if (const auto signature = ParseModelSignature(text); signature.ok()) {
    CHECK(!VerifyModelSignature(*signature, {}).ok());
  }
  (void)VerifyModelSignature({}, {.public_keys = {std::string(text)}, .authorities = ""});
  if (const auto change = DecodeChange(text); change.ok()) {
    CHECK(EncodeChange(*change) == text);
  }
  return 0;
}
