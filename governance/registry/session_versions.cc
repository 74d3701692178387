#include "governance/registry/session_versions.h"

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
    sessions_.splice(sessions_.begin(), sessions_, found->second);
    return known.version;
  }
  while (!sessions_.empty() &&
         (sessions_.size() >= limits_.sessions_max || now - sessions_.back().used > limits_.ttl)) {
    index_.erase(sessions_.back().key);
    sessions_.pop_back();
  }
  sessions_.push_front({key, decided, now});
  index_.emplace(std::move(key), sessions_.begin());
  return decided;
}

void SessionVersions::Forget(const Digest& version) {
  MutexLock lock(mutex_);
  for (auto session = sessions_.begin(); session != sessions_.end();) {
    if (session->version == version) {
      index_.erase(session->key);
      session = sessions_.erase(session);
    } else {
      ++session;
    }
  }
}

size_t SessionVersions::size() const {
  MutexLock lock(mutex_);
  return sessions_.size();
}

}  // namespace inferd
