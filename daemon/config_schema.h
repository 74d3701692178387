// The config's fields, told once to whoever visits them: the reader, the printer and the schema
// writer can therefore not disagree.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "daemon/config.h"
#include "governance/quota/quota_limit.h"

namespace inferd {

struct IntegerField {
  int64_t min = 0;
  int64_t max = 0;
  bool required = false;
};

struct StringField {
  std::vector<std::string> choices;               // empty: any
  std::function<Status(std::string_view)> check;  // may be empty; its message is shown
  bool required = false;
};

// Visits fields in the order of the file. `doc` is one line: meaning, and what a special value
// means. Every visit refers to the map that Enter or EnterItem opened last.
class FieldVisitor {
 public:
  virtual ~FieldVisitor() = default;
  virtual void Integer(std::string_view key,
                       int64_t& value,
                       const IntegerField& field,
                       std::string_view doc) = 0;
  virtual void Bytes(std::string_view key,
                     int64_t& value,
                     const IntegerField& field,
                     std::string_view doc) = 0;
  virtual void Time(std::string_view key, Duration& value, Duration max, std::string_view doc) = 0;
  virtual void Bool(std::string_view key, bool& value, std::string_view doc) = 0;
  virtual void String(std::string_view key,
                      std::string& value,
                      const StringField& field,
                      std::string_view doc) = 0;
  // A list of texts, each as `field` has it; `required` asks for one at least.
  virtual void Strings(std::string_view key,
                       std::vector<std::string>& values,
                       const StringField& field,
                       size_t size_max,
                       std::string_view doc) = 0;
  virtual void Enter(std::string_view key, std::string_view doc) = 0;
  virtual void Leave() = 0;
  // A list of maps, of as many as `length` says; one that is not required may be missing. Returns
  // how many items to visit, given how many the config holds; between BeginList and EndList each
  // item is visited between EnterItem and Leave.
  virtual size_t BeginList(std::string_view key,
                           size_t size,
                           const IntegerField& length,
                           std::string_view doc) = 0;
  virtual void EnterItem(size_t index) = 0;
  virtual void EndList() = 0;
};

void VisitConfig(FieldVisitor& visitor, Config& config);

// Parts of the config with rules of their own.
void VisitScheduling(FieldVisitor& visitor, Config& config);
// Policies and quotas: config_governance.cc.
void VisitGovernance(FieldVisitor& visitor, Config& config);
void VisitIdentity(FieldVisitor& visitor, Config& config);
// One tenant, in the map that is open.
void VisitTenant(FieldVisitor& visitor, TenantEntry& tenant);
// The quotas of the configuration.
void VisitQuotas(FieldVisitor& visitor, std::vector<QuotaEntry>& quotas);
// The quotas of a tenant's file: without org and tenant, which the file says.
void VisitTenantQuotas(FieldVisitor& visitor, std::vector<QuotaEntry>& quotas);

// What is wrong with values that are each well-formed: a key ("scheduler.tenants[1].class") and
// why.
struct ConfigFault {
  std::string key;
  std::string what;
};
std::vector<ConfigFault> CheckScheduling(const Config& config);
std::vector<ConfigFault> CheckAudit(const Config& config);
// Of entries whose fields the reader took.
std::vector<ConfigFault> CheckQuotas(const std::vector<QuotaEntry>& quotas);

// The limit that an entry is. Its metric and mode are names that the schema has.
QuotaLimit ToQuotaLimit(const QuotaEntry& entry);

// Shared checks of values.
Status CheckNotEmpty(std::string_view text);
Status CheckModelName(std::string_view name);

// audit.mode and audit.level, of everyone or of a tenant.
StringField AuditModeField();
StringField AuditLevelField();
// The name of a role.
StringField RoleField();

}  // namespace inferd
