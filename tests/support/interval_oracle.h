// What a rate promises, looked at interval by interval: an oracle that knows nothing of buckets.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "governance/quota/rate_bucket.h"

namespace inferd {

// Keeps every charge with what it came to. One thread. Quadratic, as an oracle may be.
class IntervalOracle {
 public:
  explicit IntervalOracle(const BucketRate& rate) : rate_(rate) {}

  // Times never run back. Returns the charge's number.
  size_t Charge(TimePoint when, uint64_t cost) {
    charges_.push_back({when, cost});
    return charges_.size() - 1;
  }
  void SetCost(size_t charge, uint64_t cost) { charges_[charge].cost = cost; }
  uint64_t cost(size_t charge) const { return charges_[charge].cost; }

  // Would one more charge at `now` keep every interval that ends now?
  bool Allows(TimePoint now, uint64_t cost) const {
    __int128 sum = cost;
    bool allowed = Over(sum, Duration(0)) == 0;
    for (size_t i = charges_.size(); i-- > 0 && allowed;) {
      sum += charges_[i].cost;
      allowed = Over(sum, now - charges_[i].when) == 0;
    }
    return allowed;
  }

  // Units by which the worst interval is over its promise, rounded up; 0 if all hold.
  uint64_t Overrun() const {
    uint64_t worst = 0;
    for (size_t last = 0; last < charges_.size(); ++last) {
      __int128 sum = 0;
      for (size_t first = last + 1; first-- > 0;) {
        sum += charges_[first].cost;
        worst = std::max(worst, Over(sum, charges_[last].when - charges_[first].when));
      }
    }
    return worst;
  }

 private:
  static constexpr __int128 kMinuteNs = 60'000'000'000;
  struct Spent {
    TimePoint when;
    uint64_t cost;
  };
  uint64_t Over(__int128 sum, Duration time) const {
    const __int128 over = sum * kMinuteNs - rate_.burst * kMinuteNs -
                          static_cast<__int128>(rate_.per_minute) * time.count();
    return over <= 0 ? 0 : static_cast<uint64_t>((over + kMinuteNs - 1) / kMinuteNs);
  }

  BucketRate rate_;
  std::vector<Spent> charges_;
};

}  // namespace inferd
