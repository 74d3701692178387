// SessionVersions: which version a session began with, so that it keeps it.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <tuple>

#include "base/clock.h"
#include "base/digest.h"
#include "base/ids.h"
#include "base/thread_annotations.h"

namespace inferd {

// Thread-safe. Bounded: of the tenant that has most sessions the one unused longest gives way, and
// is then decided anew.
class SessionVersions {
 public:
  struct Limits {
    size_t sessions_max = 100'000;
    Duration ttl = std::chrono::hours(24);  // since its last use
  };
  SessionVersions(const Clock& clock, Limits limits) : clock_(clock), limits_(limits) {}

  // What this session of the tenant uses of what it asked for ("llama#production"): `decided` if it
  // is new or its time is over. Without a session (""), always `decided`.
  Digest Keep(const TenantId& tenant,
              std::string_view session,
              std::string_view asked,
              const Digest& decided) EXCLUDES(mutex_);
  // Its sessions are decided anew: it was revoked or is gone.
  void Forget(const Digest& version) EXCLUDES(mutex_);
  size_t size() const EXCLUDES(mutex_);

 private:
  using Key = std::tuple<std::string, std::string, std::string>;
  struct Session {
    Key key;
    Digest version;
    TimePoint used;
  };

  const Clock& clock_;
  const Limits limits_;
  void Erase(std::map<std::string, std::list<Session>>::iterator tenant) REQUIRES(mutex_);

  mutable Mutex mutex_;
  // By tenant, each used last first; none is empty.
  std::map<std::string, std::list<Session>> sessions_ GUARDED_BY(mutex_);
  std::map<Key, std::list<Session>::iterator> index_ GUARDED_BY(mutex_);
};

}  // namespace inferd
