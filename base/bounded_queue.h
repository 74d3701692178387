// A queue between threads that has a named maximum and says so instead of growing.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/thread_annotations.h"

namespace inferd {

// Any number of producers, any number of consumers. Push never blocks.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}

  // False when full or closed; the item is then untouched.
  [[nodiscard]] bool TryPush(T&& item) EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      if (closed_ || items_.size() >= capacity_) {
        return false;
      }
      items_.push_back(std::move(item));
    }
    ready_.notify_one();
    return true;
  }

  // Takes all that is there; empty if nothing is. Never blocks.
  std::vector<T> Drain() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return TakeAll();
  }

  // Waits for an item, for Close() or for Wake(), at most `timeout`; then takes all that is there.
  std::vector<T> WaitAndDrain(Duration timeout) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    ready_.wait_for(lock.std_lock(), timeout, [this]() NO_THREAD_SAFETY_ANALYSIS {
      return !items_.empty() || closed_ || woken_;
    });
    woken_ = false;
    return TakeAll();
  }

  // Ends a wait without an item.
  void Wake() EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      woken_ = true;
    }
    ready_.notify_all();
  }

  // Refuses further items and ends every wait; what is queued can still be drained.
  void Close() EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      closed_ = true;
    }
    ready_.notify_all();
  }

  bool closed() const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return closed_;
  }
  size_t size() const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return items_.size();
  }
  size_t capacity() const { return capacity_; }

 private:
  std::vector<T> TakeAll() REQUIRES(mutex_) {
    std::vector<T> taken(std::make_move_iterator(items_.begin()),
                         std::make_move_iterator(items_.end()));
    items_.clear();
    return taken;
  }

  const size_t capacity_;
  mutable Mutex mutex_;
  std::condition_variable ready_;
  std::deque<T> items_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
  bool woken_ GUARDED_BY(mutex_) = false;
};

}  // namespace inferd
