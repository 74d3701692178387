#include "governance/identity/tenant_directory.h"

#include <algorithm>
#include <array>

#include "governance/identity/peer_certificate.h"

namespace inferd {
namespace {

constexpr size_t kNameBytesMax = 64;
constexpr std::string_view kNameBytes = "abcdefghijklmnopqrstuvwxyz0123456789-";
constexpr std::string_view kDnsBytes = "abcdefghijklmnopqrstuvwxyz0123456789.-_";

constexpr std::array<std::pair<Role, std::string_view>, 10> kRoleNames = {{
    {Role::kTenantUser, "tenant-user"},
    {Role::kTenantAdmin, "tenant-admin"},
    {Role::kOperator, "operator"},
    {Role::kModelSubmitter, "model-submitter"},
    {Role::kModelApprover, "model-approver"},
    {Role::kComplianceReader, "compliance-reader"},
    {Role::kComplianceOfficer, "compliance-officer"},
    {Role::kPayloadApprover, "payload-approver"},
    {Role::kSecurityAdmin, "security-admin"},
    {Role::kBreakGlass, "break-glass"},
}};

bool IsPrefix(std::string_view name) { return name.ends_with("/*"); }

bool IsPrincipalName(std::string_view name) {
  if (IsPrefix(name)) {
    // Something stands below it that is an id; a whole trust domain is a prefix, too.
    return IsSpiffeId(std::string(name.substr(0, name.size() - 1)) + "x");
  }
  return IsSpiffeId(name) ||
         (!name.empty() && name.find_first_not_of(kDnsBytes) == std::string_view::npos);
}

Status Wrong(const TenantRecord& tenant, std::string_view what) {
  return ErrorF(StatusCode::kInvalidArgument, "tenant \"%s\": %s", tenant.id.value(), what);
}

Status CheckTenant(const TenantRecord& tenant) {
  if (!IsTenantName(tenant.id.value())) {
    return Wrong(tenant, "its name is 1 to 64 of a-z 0-9 -");
  }
  if (!IsTenantName(tenant.organisation)) {
    return Wrong(tenant, "its organisation is 1 to 64 of a-z 0-9 -");
  }
  for (const Principal& principal : tenant.principals) {
    if (!IsPrincipalName(principal.name)) {
      return Wrong(tenant,
                   absl::StrFormat("principal \"%s\" is no SPIFFE id, no \"spiffe://.../*\" and no "
                                   "DNS name in lower case",
                                   principal.name));
    }
    if (!principal.project.empty() && !IsTenantName(principal.project)) {
      return Wrong(
          tenant, absl::StrFormat("project \"%s\" is not 1 to 64 of a-z 0-9 -", principal.project));
    }
    if (principal.roles.empty()) {
      return Wrong(tenant, absl::StrFormat("principal \"%s\" has no role", principal.name));
    }
  }
  return OkStatus();
}

}  // namespace

bool IsTenantName(std::string_view text) {
  return !text.empty() && text.size() <= kNameBytesMax &&
         text.find_first_not_of(kNameBytes) == std::string_view::npos;
}

std::string_view Name(Role role) {
  for (const auto& [value, name] : kRoleNames) {
    if (value == role) {
      return name;
    }
  }
  return "";
}

std::optional<Role> ParseRole(std::string_view text) {
  for (const auto& [value, name] : kRoleNames) {
    if (name == text) {
      return value;
    }
  }
  return std::nullopt;
}

StatusOr<TenantDirectory> TenantDirectory::Build(std::vector<TenantRecord> tenants) {
  std::sort(tenants.begin(), tenants.end(), [](const TenantRecord& a, const TenantRecord& b) {
    return a.id < b.id;
  });
  TenantDirectory directory;
  for (size_t t = 0; t < tenants.size(); ++t) {
    const TenantRecord& tenant = tenants[t];
    RETURN_IF_ERROR(CheckTenant(tenant));
    if (t > 0 && tenants[t - 1].id == tenant.id) {
      return Wrong(tenant, "stands twice");
    }
    for (size_t p = 0; p < tenant.principals.size(); ++p) {
      const std::string& name = tenant.principals[p].name;
      const bool prefix = IsPrefix(name);
      auto& map = prefix ? directory.by_prefix_ : directory.by_name_;
      const auto [other, fresh] =
          map.emplace(prefix ? name.substr(0, name.size() - 1) : name, Place{t, p});
      if (!fresh) {
        return Wrong(tenant,
                     absl::StrFormat("principal \"%s\" is one of tenant \"%s\" already",
                                     name,
                                     tenants[other->second.tenant].id.value()));
      }
    }
  }
  directory.tenants_ = std::move(tenants);
  return directory;
}

std::optional<TenantDirectory::Match> TenantDirectory::Find(std::string_view name) const {
  const auto match = [this](Place place) {
    const TenantRecord& tenant = tenants_[place.tenant];
    return Match{&tenant, &tenant.principals[place.principal]};
  };
  if (const auto found = by_name_.find(name); found != by_name_.end()) {
    return match(found->second);
  }
  for (size_t slash = name.rfind('/'); slash != std::string_view::npos && slash > 0;
       slash = name.rfind('/', slash - 1)) {
    if (const auto found = by_prefix_.find(name.substr(0, slash + 1)); found != by_prefix_.end()) {
      return match(found->second);
    }
  }
  return std::nullopt;
}

const TenantRecord* TenantDirectory::FindTenant(const TenantId& id) const {
  const auto found = std::ranges::lower_bound(tenants_, id, {}, &TenantRecord::id);
  return found != tenants_.end() && found->id == id ? &*found : nullptr;
}

std::vector<std::string> TenantDirectory::DiffFrom(const TenantDirectory& before) const {
  std::vector<std::string> lines;
  for (const TenantRecord& old : before.tenants_) {
    if (FindTenant(old.id) == nullptr) {
      lines.push_back("- " + old.id.value());
    }
  }
  for (const TenantRecord& tenant : tenants_) {
    const TenantRecord* const old = before.FindTenant(tenant.id);
    if (old == nullptr) {
      lines.push_back("+ " + tenant.id.value());
      continue;
    }
    if (old->organisation != tenant.organisation) {
      lines.push_back(absl::StrFormat("~ %s: organisation %s -> %s",
                                      tenant.id.value(),
                                      old->organisation,
                                      tenant.organisation));
    }
    const auto changed = [&lines, &tenant](char sign,
                                           const std::vector<Principal>& from,
                                           const std::vector<Principal>& to) {
      for (const Principal& principal : from) {
        if (std::find(to.begin(), to.end(), principal) == to.end()) {
          lines.push_back(
              absl::StrFormat("~ %s: principal %c %s", tenant.id.value(), sign, principal.name));
        }
      }
    };
    changed('-', old->principals, tenant.principals);
    changed('+', tenant.principals, old->principals);
  }
  return lines;
}

}  // namespace inferd
