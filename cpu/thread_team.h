// ThreadTeam: the CPU device's compute threads: a few persistent workers that run one parallel
// region at a time.
#pragma once

#include <cstdint>
#include <memory>

namespace inferd {

// Owned by a CpuDevice; Run() is called from one thread, the engine's, which takes part as worker
// 0. Workers spin briefly between regions, then sleep, so that an idle daemon costs nothing.
class ThreadTeam {
 public:
  // threads >= 1, the calling thread included.
  explicit ThreadTeam(int threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const;

  // body(worker, unit) for every unit in [0, units), each exactly once, on any worker; workers
  // claim units one by one, so a slowed one takes fewer. Returns when all are done; what they wrote
  // is visible. With units <= 1 or a team of one the caller runs it all without a barrier.
  // `body` must not call Run().
  template <typename Body>
  void Run(int64_t units, const Body& body) {
    Dispatch(units, &body, [](const void* context, int worker, int64_t unit) {
      (*static_cast<const Body*>(context))(worker, unit);
    });
  }

 private:
  using Trampoline = void (*)(const void* context, int worker, int64_t unit);
  void Dispatch(int64_t units, const void* context, Trampoline body);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace inferd
