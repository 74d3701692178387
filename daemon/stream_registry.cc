#include "daemon/stream_registry.h"

#include <algorithm>

#include "daemon/error_map.h"

namespace inferd {
namespace {

// Ids are a tenant's own: nobody learns of another's, nor blocks one.
std::pair<TenantId, std::string> IdOf(const GenerationCall& call) {
  return {call.scope.caller().tenant, call.scope.request_id()};
}

}  // namespace

Status StreamRegistry::Enter(const CallPtr& call) {
  MutexLock lock(mutex_);
  if (draining_) {
    return MakeError(Reason::kDraining, "the daemon is shutting down");
  }
  if (calls_.size() >= in_flight_max_) {
    return MakeError(
        Reason::kQueueFull,
        absl::StrFormat("%d generations are in flight, the most that are taken", in_flight_max_));
  }
  calls_.insert(call);
  return OkStatus();
}

Status StreamRegistry::ClaimId(const CallPtr& call) {
  MutexLock lock(mutex_);
  if (call->gone) {
    return MakeError(Reason::kCancelled, "the caller left");
  }
  if (!ids_.insert(IdOf(*call)).second) {
    return MakeError(Reason::kDuplicateRequestId, "a call of this request_id is in flight");
  }
  call->named = true;
  return OkStatus();
}

Status StreamRegistry::Submit(const CallPtr& call,
                              GenerationBackend& backend,
                              GenerationRequest request) {
  MutexLock lock(mutex_);
  if (call->gone) {
    return MakeError(Reason::kCancelled, "the caller left");
  }
  if (draining_) {
    return MakeError(Reason::kDraining, "the daemon is shutting down");
  }
  ASSIGN_OR_RETURN(call->handle, backend.Submit(std::move(request)));
  call->backend = &backend;
  by_handle_.emplace(call->handle, call);
  return OkStatus();
}

CallPtr StreamRegistry::Find(StreamHandle handle) const {
  MutexLock lock(mutex_);
  const auto found = by_handle_.find(handle);
  return found == by_handle_.end() ? nullptr : found->second;
}

void StreamRegistry::Leave(const CallPtr& call, bool cancel) {
  MutexLock lock(mutex_);
  if (call->gone) {
    return;
  }
  call->gone = true;
  calls_.erase(call);
  if (call->named) {
    ids_.erase(IdOf(*call));
  }
  if (call->backend != nullptr) {
    by_handle_.erase(call->handle);
    if (cancel) {
      call->backend->Cancel(call->handle);
    }
  }
}

std::vector<StreamRegistry::Submitted> StreamRegistry::ListSubmitted(std::string_view id,
                                                                     size_t limit,
                                                                     const TenantId* only) const {
  std::vector<Submitted> found;
  {
    MutexLock lock(mutex_);
    for (const auto& [handle, call] : by_handle_) {
      if (only != nullptr && call->scope.caller().tenant != *only) {
        continue;
      }
      if (id.empty() || call->scope.request_id() == id || call->scope.rid() == id) {
        // The ids and the model are set before the call is submitted, under this lock, and stay.
        found.push_back({call->scope.request_id(),
                         call->scope.rid(),
                         call->scope.caller().tenant,
                         call->scope.model(),
                         call->facts.model == nullptr ? "" : call->facts.model->version,
                         handle});
      }
    }
  }
  std::sort(found.begin(), found.end(), [](const Submitted& a, const Submitted& b) {
    return a.handle < b.handle;
  });
  found.resize(std::min(found.size(), limit));
  return found;
}

void StreamRegistry::Drain() {
  MutexLock lock(mutex_);
  draining_ = true;
}

std::vector<CallPtr> StreamRegistry::All() const {
  MutexLock lock(mutex_);
  return {calls_.begin(), calls_.end()};
}

size_t StreamRegistry::size() const {
  MutexLock lock(mutex_);
  return calls_.size();
}

}  // namespace inferd
