// WorkerPool: the ingress workers. What may take longer than a gRPC callback may (parsing,
// tokenising, templates) runs here.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/thread_annotations.h"

namespace inferd {

// Thread-safe. Jobs run in order of arrival, `workers` at a time.
class WorkerPool {
 public:
  WorkerPool(size_t workers, size_t queue_max);
  ~WorkerPool();  // runs what is queued, then stops

  // False, with the job untouched, when queue_max jobs wait. Never blocks.
  [[nodiscard]] bool TryPost(std::function<void()>&& job) EXCLUDES(mutex_);

 private:
  void Run();

  const size_t queue_max_;
  Mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> jobs_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace inferd
