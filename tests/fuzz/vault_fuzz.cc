// Segments of the vault as strangers may leave them: an error, or records that are written again
// byte for byte.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "governance/vault.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inferd;  // NOLINT(google-build-using-namespace)
  const std::string_view segment(reinterpret_cast<const char*>(data), size);
  size_t end = vault_format::kSegmentHeader.size();
  const auto visit = [&](size_t offset, const vault_format::Frame& frame) {
    CHECK(offset == end);
    end += frame.size_bytes;
    CHECK(vault_format::EncodeEnvelope(frame.envelope) == frame.bound);
    CHECK(vault_format::Encode(frame.envelope, frame.sealed_key, frame.sealed_payload) ==
          segment.substr(offset, frame.size_bytes));
  };
  (void)vault_format::ForEachFrame(segment, visit);
  return 0;
}
