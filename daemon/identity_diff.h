// IdentityDiff: what a reload of tenant files and their neighbours changes, in lines for people:
// "+ acme", "~ acme: weight 1 -> 3", "~ quota acme/day: 100 -> 200 tok_day".
#pragma once

#include <string>
#include <vector>

#include "daemon/config.h"
#include "governance/identity/tenant_directory.h"

namespace inferd {

// A configuration with the tenants of the files in it, and who they are.
struct IdentityView {
  const Config& config;
  const TenantDirectory& tenants;
};

// Tenants, their callers, shares, records and quotas. Of a tenant that came or went, its quotas
// alone have lines beside its own.
std::vector<std::string> DiffIdentity(const IdentityView& before, const IdentityView& after);

}  // namespace inferd
