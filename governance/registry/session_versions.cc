#include "governance/registry/session_versions.h"

#include <algorithm>
#include <utility>

namespace inferd {

Digest SessionVersions::Keep(const TenantId& tenant,
                             std::string_view session,
                             std::string_view asked,
                             const Digest& decided) {
  if (session.empty()) {
    return decided;
  }
  Key key(tenant.value(), session, asked);
  MutexLock lock(mutex_);
  const TimePoint now = clock_.Now();
  const auto found = index_.find(key);
  if (found != index_.end()) {
    Session& known = *found->second;
    if (now - known.used > limits_.ttl) {
      known.version = decided;
    }
    known.used = now;
    std::list<Session>& own = sessions_[tenant.value()];
    own.splice(own.begin(), own, found->second);
    return known.version;
  }
  if (index_.size() >= limits_.sessions_max) {
    Erase(std::max_element(sessions_.begin(), sessions_.end(), [](const auto& a, const auto& b) {
      return a.second.size() < b.second.size();
    }));
  }
  std::list<Session>& own = sessions_[tenant.value()];
  own.push_front({key, decided, now});
  index_.emplace(std::move(key), own.begin());
  return decided;
}

void SessionVersions::Erase(std::map<std::string, std::list<Session>>::iterator tenant) {
  index_.erase(tenant->second.back().key);
  tenant->second.pop_back();
  if (tenant->second.empty()) {
    sessions_.erase(tenant);
  }
}

void SessionVersions::Forget(const Digest& version) {
  MutexLock lock(mutex_);
  for (auto& [tenant, own] : sessions_) {
    std::erase_if(own, [&](const Session& session) {
      return session.version == version && index_.erase(session.key) > 0;
    });
  }
  std::erase_if(sessions_, [](const auto& tenant) { return tenant.second.empty(); });
}

size_t SessionVersions::size() const {
  MutexLock lock(mutex_);
  return index_.size();
}

}  // namespace inferd
