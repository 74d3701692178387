// Scheduling: what the config says of the engine, its tenants and its public prefixes, as the
// engine is told it. The join of config and engine.
#pragma once

#include <cstdint>
#include <map>

#include "base/ids.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "daemon/config.h"
#include "engine/engine.h"

namespace inferd {

EngineOptions ToEngineOptions(const Config& config);

// Tells the engine every tenant of the config. kInvalidArgument names the tenant.
Status SetTenants(const Config& config, Engine& engine);
// The same for what is other than `before`; tenants that are gone have weight 1 and no limits.
Status ChangeTenants(const Config& before, const Config& after, Engine& engine);

// KV blocks of the model that no request may count on: guarantees and public prefixes.
int64_t ReservedBlocks(const Config& config, const std::string& model);

// Computes the model's public prefixes, after Engine::Start. Errors name the file; a text too short
// for one block is one.
Status RegisterPublicPrefixes(const Config& config, const ResidentModel& model, Engine& engine);

// Logs a warning if one request of the model can put its tenant out of the fairness window.
void WarnOfWindow(const Config& config, const ResidentModel& model);

// Which class a tenant's requests have. Thread-safe.
class TenantClasses {
 public:
  explicit TenantClasses(const Config& config) { Replace(config); }
  void Replace(const Config& config) EXCLUDES(mutex_);
  int32_t ClassOf(const TenantId& tenant) const EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;
  std::map<TenantId, int32_t> classes_ GUARDED_BY(mutex_);
};

}  // namespace inferd
