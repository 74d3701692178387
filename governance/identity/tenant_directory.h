// TenantDirectory: which tenant a caller belongs to, and what it may be there.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace inferd {

// What a caller may be. Nobody approves what the same person proposed, whatever the roles.
enum class Role : uint8_t {
  kTenantUser,
  kTenantAdmin,
  kOperator,
  kModelSubmitter,
  kModelApprover,
  kComplianceReader,
  kComplianceOfficer,
  kPayloadApprover,
  kSecurityAdmin,
  kBreakGlass,
};
inline constexpr std::array kRoles = {Role::kTenantUser,
                                      Role::kTenantAdmin,
                                      Role::kOperator,
                                      Role::kModelSubmitter,
                                      Role::kModelApprover,
                                      Role::kComplianceReader,
                                      Role::kComplianceOfficer,
                                      Role::kPayloadApprover,
                                      Role::kSecurityAdmin,
                                      Role::kBreakGlass};
std::string_view Name(Role role);  // "tenant-user"
std::optional<Role> ParseRole(std::string_view name);

// Of a tenant, an organisation or a project: 1 to 64 of a-z 0-9 -, since they become parts of keys,
// labels and leaves.
bool IsTenantName(std::string_view text);

// Callers of a tenant, by the name in their certificate.
struct Principal {
  std::string name;  // a SPIFFE id or a DNS name; "spiffe://example.org/team/*": all below
  std::string project;
  std::vector<Role> roles = {Role::kTenantUser};
  friend bool operator==(const Principal&, const Principal&) = default;
};

struct TenantRecord {
  TenantId id;
  std::string organisation;
  std::vector<Principal> principals;
  std::vector<std::string> models{};  // references that it may use, "llama#production"; none: all
  bool signed_models_only = false;
  friend bool operator==(const TenantRecord&, const TenantRecord&) = default;
};

// Immutable, so thread-safe; a reload makes another.
class TenantDirectory {
 public:
  TenantDirectory() = default;
  // kInvalidArgument names the tenant: one that stands twice, a name that is none, a principal that
  // two tenants have.
  static StatusOr<TenantDirectory> Build(std::vector<TenantRecord> tenants);

  struct Match {
    const TenantRecord* tenant;
    const Principal* principal;
  };
  // By the name itself, else by the longest "…/*" that holds it. nullopt: nobody's.
  std::optional<Match> Find(std::string_view name) const;
  const TenantRecord* FindTenant(const TenantId& id) const;              // nullptr: there is none
  const std::vector<TenantRecord>& tenants() const { return tenants_; }  // by id

  // What is other than in `before`, a line each: "+ acme", "- acme", "~ acme: principals".
  std::vector<std::string> DiffFrom(const TenantDirectory& before) const;

 private:
  struct Place {
    size_t tenant, principal;
  };
  std::vector<TenantRecord> tenants_;
  std::map<std::string, Place, std::less<>> by_name_;
  std::map<std::string, Place, std::less<>> by_prefix_;  // with the final slash
};

}  // namespace inferd
