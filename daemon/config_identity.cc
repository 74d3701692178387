// The config's part on who may call, and on how calls are recorded.
#include <algorithm>
#include <set>

#include "daemon/config_schema.h"
#include "governance/identity/tenant_directory.h"

namespace inferd {
namespace {

constexpr size_t kRolesMax = 16;
constexpr std::string_view kUid = "uid:";

Status CheckAdministrator(std::string_view name) {
  const std::string_view number = name.substr(std::min(name.size(), kUid.size()));
  return name.starts_with(kUid) && !number.empty() && number.size() <= 10 &&
                 number.find_first_not_of("0123456789") == std::string_view::npos
             ? OkStatus()
             : Status(StatusCode::kInvalidArgument, "write it as uid:1000");
}

Status CheckLocalTenant(std::string_view name) {
  return name.empty() || IsTenantName(name)
             ? OkStatus()
             : Status(StatusCode::kInvalidArgument, "a tenant's name is 1 to 64 of a-z 0-9 -");
}

}  // namespace

StringField RoleField() {
  StringField field;
  for (const Role role : kRoles) {
    field.choices.emplace_back(Name(role));
  }
  field.required = true;
  return field;
}

void VisitIdentity(FieldVisitor& v, Config& c) {
  v.Enter("identity", "Who may call; docs/identity.md.");
  v.String("tenants_directory",
           c.identity.tenants_directory,
           {},
           "A folder with a YAML file for each tenant, of root or of the daemon's user; empty: "
           "whoever the listener lets in is the local tenant.");
  v.String("local_tenant",
           c.identity.local_tenant,
           {.choices = {}, .check = CheckLocalTenant, .required = false},
           "The tenant of callers of this host without a credential; empty: they need one.");
  v.String("revocations",
           c.identity.revocations,
           {},
           "A list of certificates that are refused, by serial or public key; empty: none.");
  v.String("crl", c.identity.crl, {}, "An authority's revocation list, PEM; empty: none.");
  const size_t size = v.BeginList("administrators",
                                  c.identity.administrators.size(),
                                  {.min = 0, .max = kAdministratorsMax, .required = false},
                                  "Who may use the admin socket, and as what; none: whoever its "
                                  "permissions let in, with every role.");
  c.identity.administrators.resize(size);
  for (size_t i = 0; i < size; ++i) {
    v.EnterItem(i);
    v.String("name",
             c.identity.administrators[i].name,
             {.choices = {}, .check = CheckAdministrator, .required = true},
             "As the kernel tells of the peer: uid:1000.");
    v.Strings("roles", c.identity.administrators[i].roles, RoleField(), kRolesMax, "Its roles.");
    v.Leave();
  }
  v.EndList();
  v.Leave();
}

// Modes that serve without a record need what makes up for it.
std::vector<ConfigFault> CheckAudit(const Config& config) {
  std::vector<ConfigFault> faults;
  const auto uses = [&config](std::string_view mode) {
    return config.audit.mode == mode ||
           std::any_of(config.audit.tenants.begin(),
                       config.audit.tenants.end(),
                       [mode](const TenantAudit& tenant) { return tenant.mode == mode; });
  };
  std::set<std::string_view> names;
  for (size_t i = 0; i < config.audit.tenants.size(); ++i) {
    if (const std::string& name = config.audit.tenants[i].name; !names.insert(name).second) {
      faults.push_back({absl::StrFormat("audit.tenants[%d].name", i),
                        absl::StrFormat("\"%s\" stands twice", name)});
    }
  }
  if (uses("guarded") && config.audit.spill_directory.empty()) {
    faults.push_back(
        {"audit.spill_directory", "is needed for mode guarded: records go there meanwhile"});
  }
  const std::set<std::string> persons(config.audit.best_effort_approved_by.begin(),
                                      config.audit.best_effort_approved_by.end());
  if (uses("best_effort") && persons.size() < 2) {
    faults.push_back(
        {"audit.best_effort_approved_by", "two persons have to approve mode best_effort"});
  }
  return faults;
}

}  // namespace inferd
