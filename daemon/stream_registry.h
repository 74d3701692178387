// StreamRegistry: the generations in flight: how many, under which request ids, and which engine
// stream belongs to which call.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "base/thread_annotations.h"
#include "daemon/generation_call.h"

namespace inferd {

// Thread-safe. A call enters, is named, is submitted, leaves; it may leave at any point.
class StreamRegistry {
 public:
  explicit StreamRegistry(size_t in_flight_max) : in_flight_max_(in_flight_max) {}

  // QUEUE_FULL at the maximum, DRAINING after Drain().
  Status Enter(const CallPtr& call) EXCLUDES(mutex_);
  // Claims the scope's request id; DUPLICATE_REQUEST_ID while another call of the tenant has it.
  Status ClaimId(const CallPtr& call) EXCLUDES(mutex_);
  // Submits and remembers the handle in one step, so that no event of it can come unknown.
  // CANCELLED if the call left meanwhile, else what the backend says.
  Status Submit(const CallPtr& call, GenerationBackend& backend, GenerationRequest request)
      EXCLUDES(mutex_);
  // nullptr if the call has left.
  CallPtr Find(StreamHandle handle) const EXCLUDES(mutex_);
  // Forgets the call and cancels it in the engine if that has not finished it.
  void Leave(const CallPtr& call, bool cancel) EXCLUDES(mutex_);

  // What operators may know of the calls that the engine has.
  struct Submitted {
    std::string request_id;
    std::string rid;
    TenantId tenant;
    std::string model;
    std::string version;
    StreamHandle handle = 0;
  };
  // All, or those whose request id or rid is `id`; at most `limit`, oldest first. `only`: of this
  // tenant; nullptr: of every one.
  std::vector<Submitted> ListSubmitted(std::string_view id,
                                       size_t limit,
                                       const TenantId* only) const EXCLUDES(mutex_);

  void Drain() EXCLUDES(mutex_);
  std::vector<CallPtr> All() const EXCLUDES(mutex_);
  size_t size() const EXCLUDES(mutex_);

 private:
  const size_t in_flight_max_;
  mutable Mutex mutex_;
  std::set<CallPtr> calls_ GUARDED_BY(mutex_);
  std::set<std::pair<TenantId, std::string>> ids_ GUARDED_BY(mutex_);
  std::unordered_map<StreamHandle, CallPtr> by_handle_ GUARDED_BY(mutex_);
  bool draining_ GUARDED_BY(mutex_) = false;
};

}  // namespace inferd
