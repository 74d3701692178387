// Tenant files: a YAML file for each tenant, in one folder: who its callers are, its share of the
// device, what it may use, how its calls are recorded. docs/identity.md is the operator's page.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "daemon/config.h"
#include "governance/identity/tenant_directory.h"

namespace inferd {

inline constexpr size_t kTenantFilesMax = 10'000;
inline constexpr uint64_t kTenantFileBytesMax = 1 << 20;
inline constexpr int64_t kTenantPrincipalsMax = 10'000;

// A plain value.
struct TenantFile {
  std::string path;
  TenantRecord record;
  TenantEntry scheduling;            // of the same name
  std::optional<TenantAudit> audit;  // absent: as everyone's
  std::vector<QuotaEntry> quotas;    // of its organisation and itself
};

// Of one file's text; `errors` is empty or says everything that is wrong, with its place.
struct TenantFileResult {
  TenantFile file;
  std::vector<std::string> errors;
};
TenantFileResult ParseTenantFile(std::string_view text, const std::string& file_name);

struct TenantFiles {
  std::vector<TenantFile> files;  // by the names of the files
  Digest digest;                  // over names and contents
};
// All *.yaml of the folder. kInvalidArgument with every error, a line each; kFailedPrecondition for
// a folder or a file that others than root and this process's user can write.
StatusOr<TenantFiles> ReadTenantFiles(const std::string& directory);

}  // namespace inferd
