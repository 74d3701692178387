// Mutex with the annotations that clang's -Wthread-safety checks (preset "clang"); nothing on
// other compilers.
#pragma once

#include <mutex>

#if defined(__clang__)
#define INFERD_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define INFERD_THREAD_ANNOTATION(x)
#endif

// Debian's abseil defines these two for everyone, with the same meaning.
#undef GUARDED_BY
#undef NO_THREAD_SAFETY_ANALYSIS

#define CAPABILITY(x) INFERD_THREAD_ANNOTATION(capability(x))
#define SCOPED_CAPABILITY INFERD_THREAD_ANNOTATION(scoped_lockable)
#define GUARDED_BY(x) INFERD_THREAD_ANNOTATION(guarded_by(x))
#define REQUIRES(...) INFERD_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) INFERD_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define RELEASE(...) INFERD_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define EXCLUDES(...) INFERD_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS INFERD_THREAD_ANNOTATION(no_thread_safety_analysis)

namespace inferd {

class CAPABILITY("mutex") Mutex {
 public:
  void Lock() ACQUIRE() { mutex_.lock(); }
  void Unlock() RELEASE() { mutex_.unlock(); }
  // For a lock that is held for less than a microsecond: tries for about as long as a sleep and a
  // wake-up cost, then sleeps.
  void LockSpinning() ACQUIRE() {
    constexpr int kTries = 100;
    constexpr int kPauses = 8;  // that the lock's cache line stays with who has it
    for (int i = 0; i < kTries; ++i) {
      if (mutex_.try_lock()) {
        return;
      }
      for (int pause = 0; pause < kPauses; ++pause) {
        __builtin_ia32_pause();
      }
    }
    mutex_.lock();
  }
  std::mutex& std_mutex() { return mutex_; }

 private:
  std::mutex mutex_;
};

// Holds a Mutex for a scope. std_lock() is for std::condition_variable alone.
class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : lock_(mutex.std_mutex()) {}
  // Locked with LockSpinning.
  struct Spinning {};
  MutexLock(Mutex& mutex, Spinning) ACQUIRE(mutex) : lock_(mutex.std_mutex(), std::defer_lock) {
    mutex.LockSpinning();
    lock_ = std::unique_lock<std::mutex>(mutex.std_mutex(), std::adopt_lock);
  }
  ~MutexLock() RELEASE() = default;
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  std::unique_lock<std::mutex>& std_lock() { return lock_; }

 private:
  std::unique_lock<std::mutex> lock_;
};

}  // namespace inferd
