#include "daemon/worker_pool.h"

#include <utility>

namespace inferd {

WorkerPool::WorkerPool(size_t workers, size_t queue_max) : queue_max_(queue_max) {
  for (size_t i = 0; i < workers; ++i) {
    threads_.emplace_back([this] { Run(); });
  }
}

WorkerPool::~WorkerPool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  ready_.notify_all();
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

bool WorkerPool::TryPost(std::function<void()>&& job) {
  {
    MutexLock lock(mutex_);
    if (jobs_.size() >= queue_max_) {
      return false;
    }
    jobs_.push_back(std::move(job));
  }
  ready_.notify_one();
  return true;
}

void WorkerPool::Run() {
  while (true) {
    std::function<void()> job;
    {
      MutexLock lock(mutex_);
      ready_.wait(lock.std_lock(),
                  [this]() NO_THREAD_SAFETY_ANALYSIS { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) {
        return;
      }
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

}  // namespace inferd
