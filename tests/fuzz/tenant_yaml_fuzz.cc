// Tenant files. Errors with a place, or a tenant that a directory takes; and what was taken is
// taken again.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "daemon/tenant_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inferd;  // NOLINT(google-build-using-namespace)
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const TenantFileResult result = ParseTenantFile(text, "t.yaml");
  if (!result.errors.empty()) {
    for (const std::string& error : result.errors) {
      CHECK(error.starts_with("t.yaml"));
    }
    return 0;
  }
  CHECK(IsTenantName(result.file.record.id.value()));
  CHECK(result.file.scheduling.name == result.file.record.id.value());
  CHECK(TenantDirectory::Build({result.file.record}).ok());
  CHECK(ParseTenantFile(text, "t.yaml").file.record == result.file.record);
  return 0;
}
