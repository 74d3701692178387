#include "daemon/method_rules.h"

#include <set>
#include <string>

namespace inferd {
namespace {

const std::vector<MethodRule>& Rules() {
  static const auto& kRules = *new std::vector<MethodRule>([] {
    const std::vector<Role> users = {Role::kTenantUser, Role::kTenantAdmin};
    const std::vector<Role> operators = {Role::kOperator};
    const std::vector<Role> security = {Role::kSecurityAdmin};
    const std::vector<Role> lookers = {
        Role::kSecurityAdmin, Role::kOperator, Role::kComplianceReader, Role::kComplianceOfficer};
    const std::vector<Role> officers = {Role::kComplianceOfficer};
    const std::vector<Role> readers = {Role::kComplianceReader, Role::kComplianceOfficer};
    const std::vector<Role> payloads = {Role::kComplianceOfficer, Role::kPayloadApprover};
    const std::vector<Role> accountants = {Role::kOperator, Role::kComplianceReader};
    const std::vector<Role> guards = {Role::kSecurityAdmin};
    const std::vector<Role> policies = {Role::kSecurityAdmin, Role::kComplianceReader};
    const std::vector<Role> registrars = {Role::kOperator,
                                          Role::kModelSubmitter,
                                          Role::kModelApprover,
                                          Role::kSecurityAdmin,
                                          Role::kComplianceReader};
    return std::vector<MethodRule>{
        {"GenerationService/Generate", users, "generate"},
        {"GenerationService/GenerateStream", users, "generate"},
        {"GenerationService/Tokenize", users, "text"},
        {"GenerationService/Detokenize", users, "text"},
        {"GenerationService/ApplyChatTemplate", users, "text"},
        {"ModelService/ListModels", users, "models"},
        {"ModelService/GetModel", users, "models"},
        {"UsageService/GetUsage", users, "usage"},
        {"UsageService/GetQuota", users, "usage"},
        {"AuditService/GetLog", readers, ""},
        {"AuditService/SearchLeaves", readers, ""},
        {"AuditService/GetLeaf", readers, ""},
        {"AuditService/GetReport", readers, ""},
        {"AuditService/BeginExport", readers, ""},
        {"AuditService/SetHold", officers, ""},
        {"AuditService/ReleaseHold", officers, ""},
        {"AuditService/ListHolds", readers, ""},
        {"AuditService/RequestErasure", officers, ""},
        {"AuditService/ApproveErasure", officers, ""},
        {"AuditService/ListErasures", readers, ""},
        {"AuditService/ListWitnesses", readers, ""},
        {"AuditService/RequestPayload", officers, ""},
        {"AuditService/ApprovePayload", {Role::kPayloadApprover}, ""},
        {"AuditService/OpenPayload", officers, ""},
        {"AuditService/ListPayloads", payloads, ""},
        {"ReplayService/Replay", officers, ""},
        {"TenantService/ListTenants", lookers, ""},
        {"TenantService/GetTenant", lookers, ""},
        {"TenantService/ReloadTenants", {Role::kSecurityAdmin, Role::kOperator}, ""},
        {"KeyService/IssueKey", security, ""},
        {"KeyService/RotateKey", security, ""},
        {"KeyService/RevokeKey", security, ""},
        {"KeyService/ListKeys", lookers, ""},
        {"QueueService/GetLoad", operators, ""},
        {"QueueService/ExplainQueue",
         {Role::kOperator, Role::kTenantUser, Role::kTenantAdmin},
         "queue"},
        {"ModelAdminService/LoadModel", operators, ""},
        {"ModelAdminService/UnloadModel", operators, ""},
        {"RegistryService/AddModel", {Role::kModelSubmitter, Role::kOperator}, ""},
        {"RegistryService/ApproveModel", {Role::kModelApprover}, ""},
        {"RegistryService/ProposeAlias", operators, ""},
        {"RegistryService/ApproveAlias", {Role::kModelApprover, Role::kOperator}, ""},
        {"RegistryService/SetCanary", operators, ""},
        {"RegistryService/RollBackAlias", operators, ""},
        {"RegistryService/RevokeModel",
         {Role::kOperator, Role::kModelApprover, Role::kSecurityAdmin},
         ""},
        {"RegistryService/ListVersions", registrars, ""},
        {"RegistryService/GetHistory", registrars, ""},
        {"QuotaAdminService/QueryUsage", accountants, ""},
        {"QuotaAdminService/ShowQuotas", accountants, ""},
        {"QuotaAdminService/ExplainQuota", accountants, ""},
        {"QuotaAdminService/SimulateQuotas", accountants, ""},
        {"QuotaAdminService/SetQuota", operators, ""},
        {"QuotaAdminService/RemoveQuota", operators, ""},
        {"PolicyAdminService/GetPolicies", policies, ""},
        {"PolicyAdminService/GetPolicySet", policies, ""},
        {"PolicyAdminService/ProposePolicy", guards, ""},
        {"PolicyAdminService/ApprovePolicy", guards, ""},
        {"PolicyAdminService/ActivatePolicy", guards, ""},
    };
  }());
  return kRules;
}

}  // namespace

std::span<const MethodRule> MethodRules() { return Rules(); }

Status MayCall(const Caller& caller, std::string_view method) {
  for (const MethodRule& rule : Rules()) {
    if (rule.method != method) {
      continue;
    }
    const bool has_role = std::any_of(
        rule.roles.begin(), rule.roles.end(), [&](Role role) { return caller.Has(role); });
    if (!has_role) {
      return ErrorF(
          StatusCode::kPermissionDenied, "%s is for the role %s", method, Name(rule.roles.front()));
    }
    if (caller.scopes.has_value() && (rule.scope.empty() || !caller.MayUse(rule.scope))) {
      return ErrorF(StatusCode::kPermissionDenied,
                    "API key %s is not for %s",
                    caller.key_id,
                    rule.scope.empty() ? "administration" : rule.scope);
    }
    return OkStatus();
  }
  return ErrorF(StatusCode::kPermissionDenied, "%s is not open to anybody", method);
}

std::vector<std::string_view> KnownScopes() {
  std::set<std::string_view> scopes;
  for (const MethodRule& rule : Rules()) {
    if (!rule.scope.empty()) {
      scopes.insert(rule.scope);
    }
  }
  return {scopes.begin(), scopes.end()};
}

}  // namespace inferd
