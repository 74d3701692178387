#include "daemon/identity_diff.h"

#include <map>
#include <string_view>

#include "base/status.h"

namespace inferd {
namespace {

template <typename Entry>
std::map<std::string_view, const Entry*> ByName(const std::vector<Entry>& entries) {
  std::map<std::string_view, const Entry*> by_name;
  for (const Entry& entry : entries) {
    by_name.emplace(entry.name, &entry);
  }
  return by_name;
}

std::string AuditText(const std::map<std::string_view, const TenantAudit*>& entries,
                      const std::string& name) {
  const auto found = entries.find(name);
  return found == entries.end() ? "as everyone's"
                                : found->second->mode + "/" + found->second->level;
}

// What of shares and records is other than before, of tenants that stay.
void DiffShares(const Config& before, const IdentityView& after, std::vector<std::string>& lines) {
  const auto old_entries = ByName(before.scheduler.tenants);
  const auto new_entries = ByName(after.config.scheduler.tenants);
  const auto old_audit = ByName(before.audit.tenants);
  const auto new_audit = ByName(after.config.audit.tenants);
  for (const TenantRecord& tenant : after.tenants.tenants()) {
    const std::string& name = tenant.id.value();
    const auto old = old_entries.find(name);
    const auto now = new_entries.find(name);
    if (old == old_entries.end() || now == new_entries.end()) {
      continue;  // it came with the file
    }
    const int64_t weight = now->second->weight;
    if (old->second->weight != weight) {
      lines.push_back(absl::StrFormat("~ %s: weight %d -> %d", name, old->second->weight, weight));
    }
    TenantEntry same_weight = *old->second;
    same_weight.weight = weight;
    if (same_weight != *now->second) {
      lines.push_back(absl::StrFormat("~ %s: class or limits", name));
    }
    const std::string old_text = AuditText(old_audit, name);
    const std::string new_text = AuditText(new_audit, name);
    if (old_text != new_text) {
      lines.push_back(absl::StrFormat("~ %s: audit %s -> %s", name, old_text, new_text));
    }
  }
}

std::map<std::string_view, const QuotaEntry*> ById(const std::vector<QuotaEntry>& quotas) {
  std::map<std::string_view, const QuotaEntry*> by_id;
  for (const QuotaEntry& quota : quotas) {
    by_id.emplace(quota.id, &quota);
  }
  return by_id;
}

std::string ChangeText(const QuotaEntry& before, const QuotaEntry& after) {
  QuotaEntry same_limit = before;
  same_limit.limit = after.limit;
  if (same_limit == after) {
    return absl::StrFormat("%d -> %d %s", before.limit, after.limit, after.metric);
  }
  return absl::StrFormat(
      "is %s %d, %s, of other terms or scope", after.metric, after.limit, after.mode);
}

void DiffQuotas(const Config& before, const Config& after, std::vector<std::string>& lines) {
  const auto old_quotas = ById(before.quotas);
  const auto new_quotas = ById(after.quotas);
  for (const auto& [id, quota] : old_quotas) {
    if (!new_quotas.contains(id)) {
      lines.push_back(absl::StrFormat("- quota %s", id));
    }
  }
  for (const auto& [id, quota] : new_quotas) {
    const auto old = old_quotas.find(id);
    if (old == old_quotas.end()) {
      lines.push_back(absl::StrFormat("+ quota %s: %d %s", id, quota->limit, quota->metric));
    } else if (*old->second != *quota) {
      lines.push_back(absl::StrFormat("~ quota %s: %s", id, ChangeText(*old->second, *quota)));
    }
  }
}

}  // namespace

std::vector<std::string> DiffIdentity(const IdentityView& before, const IdentityView& after) {
  std::vector<std::string> lines = after.tenants.DiffFrom(before.tenants);
  DiffShares(before.config, after, lines);
  DiffQuotas(before.config, after.config, lines);
  return lines;
}

}  // namespace inferd
