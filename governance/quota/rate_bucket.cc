#include "governance/quota/rate_bucket.h"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "base/check.h"

namespace inferd {
namespace {

constexpr __int128 kMinuteNs = 60'000'000'000;

// Nanoseconds until `excess` has drained; nothing if it never does.
std::optional<Duration> DrainTime(__int128 excess, uint64_t per_minute) {
  if (excess <= 0) {
    return Duration(0);
  }
  if (per_minute == 0) {
    return std::nullopt;
  }
  const __int128 wait = (excess + per_minute - 1) / per_minute;
  return wait > Duration::max().count() ? std::nullopt
                                        : std::optional(Duration(static_cast<int64_t>(wait)));
}

}  // namespace

RateBucket::RateBucket(const BucketRate& rate, TimePoint now)
    : rate_(rate), now_(now), backlog_(rate.burst * kMinuteNs) {}

void RateBucket::Advance(TimePoint now) {
  if (now <= now_) {
    return;
  }
  const Backlog drained = static_cast<Backlog>(rate_.per_minute) * (now - now_).count();
  backlog_ = std::max<Backlog>(0, backlog_ - drained);
  now_ = now;
  if (!runs_.empty() && last_least_ > backlog_) {
    runs_.back().rise -= last_least_ - backlog_;
    last_least_ = backlog_;
    (void)MergeWhileNoRise(runs_.end() - 1);
  }
}

bool RateBucket::Fits(uint64_t cost) const {
  return backlog_ + cost * kMinuteNs <= rate_.burst * kMinuteNs;
}

std::optional<Duration> RateBucket::UntilFits(uint64_t cost) const {
  return cost > rate_.burst
             ? std::nullopt
             : DrainTime(backlog_ + cost * kMinuteNs - rate_.burst * kMinuteNs, rate_.per_minute);
}

std::optional<Duration> RateBucket::UntilFits(uint64_t cost,
                                              const BucketRate& next,
                                              Duration change) const {
  const std::optional<Duration> before = UntilFits(cost);
  if (before && *before < change) {
    return before;
  }
  RateBucket later = *this;
  later.Advance(now_ + change);
  later.SetRate(next);
  const std::optional<Duration> after = later.UntilFits(cost);
  return after ? std::optional(change + *after) : std::nullopt;
}

RateBucket::Ticket RateBucket::Take(uint64_t cost) {
  backlog_ += cost * kMinuteNs;
  if (runs_.empty() || backlog_ > last_least_) {
    runs_.push_back({.first = next_ticket_, .num_open = 0, .rise = backlog_ - last_least_});
    last_least_ = backlog_;
  }
  ++runs_.back().num_open;
  ++num_open_;
  return next_ticket_++;
}

// With `unused` less at the charge, the backlog at any time since would have been lower by that, or
// by the least that it was until then, if that is less. So is every later least; and no earlier one
// is above this one's.
void RateBucket::Settle(Ticket ticket, uint64_t unused) {
  auto run =
      std::upper_bound(runs_.begin(), runs_.end(), ticket, [](Ticket value, const Run& each) {
        return value < each.first;
      });
  CHECK(run != runs_.begin() && ticket < next_ticket_);
  --run;
  const Backlog back = std::min<Backlog>(unused * kMinuteNs, LeastOf(run));
  run->rise -= back;
  last_least_ -= back;
  backlog_ -= back;
  run = MergeWhileNoRise(run);
  CHECK(run->num_open > 0);
  --num_open_;
  if (--run->num_open > 0) {
    return;
  }
  if (const auto next = std::next(run); next != runs_.end()) {
    next->rise += run->rise;
  } else {
    last_least_ -= run->rise;
  }
  runs_.erase(run);
}

// The sum of the rises up to it, from the nearer end.
RateBucket::Backlog RateBucket::LeastOf(Runs::const_iterator run) const {
  const auto add = [](Backlog sum, const Run& each) { return sum + each.rise; };
  const auto next = std::next(run);
  if (next - runs_.begin() <= runs_.end() - next) {
    return std::accumulate(runs_.begin(), next, Backlog{0}, add);
  }
  return last_least_ - std::accumulate(next, runs_.end(), Backlog{0}, add);
}

// Into one run with those before it that it is not above any more. Returns the run.
RateBucket::Runs::iterator RateBucket::MergeWhileNoRise(Runs::iterator run) {
  auto first = run;
  while (run->rise <= 0 && first != runs_.begin()) {
    --first;
    run->first = first->first;
    run->num_open += first->num_open;
    run->rise += first->rise;
  }
  return runs_.erase(first, run);
}

uint64_t RateBucket::remaining() const {
  const Backlog room = rate_.burst * kMinuteNs - backlog_;
  return room <= 0 ? 0 : static_cast<uint64_t>(room / kMinuteNs);
}

Duration RateBucket::UntilEmpty() const {
  return DrainTime(backlog_, rate_.per_minute).value_or(Duration::max());
}

}  // namespace inferd
