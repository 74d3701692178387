// One emulated CTA: its warps, run phase by phase in any order.
#pragma once

#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "base/random.h"
#include "cuda/qgemm_emulated.h"

namespace inferd::cuda_internal {

// 0 to count - 1; shuffled unless the seed is 0.
inline std::vector<int64_t> Order(int64_t count, SplitMix64& random, bool shuffled) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = order.size(); shuffled && i > 1; --i) {
    std::swap(order[i - 1], order[random.Below(i)]);
  }
  return order;
}

// The warps of one CTA, phase by phase.
template <class Body>
class Cta {
 public:
  Cta(SplitMix64& random, bool shuffled) : random_(random), shuffled_(shuffled) {}

  template <class... Args>
  void Start(const QgemmArgs& args, EmulatedWarp& warp, Args... place) {
    for (int w = 0; w < kCtaWarps; ++w) {
      warps_.push_back(std::make_unique<Body>(args, warp, w, place...));
    }
  }
  // Every warp, in some order; returning from it is the barrier.
  template <class F>
  void Phase(F f) {
    for (const int64_t w : Order(kCtaWarps, random_, shuffled_)) {
      f(*warps_[static_cast<size_t>(w)]);
    }
  }

 private:
  SplitMix64& random_;
  bool shuffled_;
  std::vector<std::unique_ptr<Body>> warps_;
};

}  // namespace inferd::cuda_internal
