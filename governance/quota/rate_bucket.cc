#include "governance/quota/rate_bucket.h"

#include <algorithm>

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
  if (!open_.empty()) {
    open_.back().least = std::min(open_.back().least, backlog_);
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
  open_.push_back({.ticket = next_ticket_, .least = backlog_});
  return next_ticket_++;
}

void RateBucket::Settle(Ticket ticket, uint64_t unused) {
  const auto charge =
      std::lower_bound(open_.begin(), open_.end(), ticket, [](const Open& open, Ticket value) {
        return open.ticket < value;
      });
  CHECK(charge != open_.end() && charge->ticket == ticket);
  // With `unused` less at the charge, the backlog at any time since would have been lower by that,
  // or by the least that it was until then, if that is less. The same holds for each `least`.
  const Backlog back = unused * kMinuteNs;
  Backlog least = charge->least;
  for (auto open = charge; open != open_.end() && least > 0 && back > 0; ++open) {
    least = std::min(least, open->least);
    open->least -= std::min(back, least);
  }
  backlog_ -= std::min(back, std::min(least, backlog_));
  if (charge != open_.begin()) {
    auto previous = std::prev(charge);
    previous->least = std::min(previous->least, charge->least);
  }
  open_.erase(charge);
}

uint64_t RateBucket::remaining() const {
  const Backlog room = rate_.burst * kMinuteNs - backlog_;
  return room <= 0 ? 0 : static_cast<uint64_t>(room / kMinuteNs);
}

Duration RateBucket::UntilEmpty() const {
  return DrainTime(backlog_, rate_.per_minute).value_or(Duration::max());
}

}  // namespace inferd
