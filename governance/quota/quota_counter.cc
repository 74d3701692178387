#include <algorithm>
#include <utility>

#include "base/check.h"
#include "governance/quota/quota_book.h"

namespace inferd {
namespace {

class Whole final : public QuotaRights {
 public:
  QuotaRight Of(const QuotaLimit&, const QuotaRight& whole, int64_t) const override {
    return whole;
  }
};

BucketRate RateOf(const QuotaRight& right) {
  return {.per_minute = right.units, .burst = right.burst};
}

}  // namespace

const QuotaRights& WholeLimits() {
  static const Whole whole;
  return whole;
}

QuotaCounter::QuotaCounter(QuotaLimit limit,
                           const QuotaRights& rights,
                           UtcDay day,
                           const QuotaNow& now)
    : kind_(KindOf(limit.metric)),
      metric_(limit.metric),
      limit_(std::move(limit)),
      rights_(rights) {
  window_ = WindowOf(day);
  BeginRaise(now);
  Replace(limit_, day, now);
}

// On the monotonic clock from here on: setting the wall clock back does not prolong a raise, nor
// begin one anew that has ended.
void QuotaCounter::BeginRaise(const QuotaNow& now) {
  raise_ends_.reset();
  if (limit_.raise && limit_.raise->until > now.wall) {
    raise_ends_ = now.mono + (limit_.raise->until - now.wall);
  }
}

QuotaRight QuotaCounter::Whole(bool raised) const {
  const uint64_t units = raised ? limit_.raise->limit : limit_.limit;
  const uint64_t burst = raised ? limit_.raise->burst : limit_.burst;
  const bool rate = kind_ == QuotaKind::kRate && units > 0;
  return {.units = units, .burst = rate ? (burst == 0 ? units : burst) : 0};
}

int64_t QuotaCounter::WindowOf(UtcDay day) const {
  return kind_ != QuotaKind::kBudget ? 0 : IsMonthly(metric_) ? MonthOf(day) : day;
}

void QuotaCounter::SetRight() {
  right_ = rights_.Of(limit_, whole_, window_);
  right_.units = std::min(right_.units, whole_.units);
  right_.burst = std::min(right_.burst, whole_.burst);
  if (bucket_) {
    bucket_->SetRate(RateOf(right_));
  }
}

void QuotaCounter::Replace(QuotaLimit limit, UtcDay day, const QuotaNow& now) {
  Advance(day, now.mono);
  const bool same_raise = limit_.raise == limit.raise;
  limit_ = std::move(limit);
  if (!same_raise) {
    BeginRaise(now);
  }
  whole_ = Whole(raise_ends_.has_value());
  SetRight();
  if (kind_ == QuotaKind::kRate && !bucket_) {
    bucket_.emplace(RateOf(right_), now.mono);
  }
}

void QuotaCounter::Advance(UtcDay day, TimePoint now) {
  if (raise_ends_ && now >= *raise_ends_) {
    if (bucket_) {
      bucket_->Advance(*raise_ends_);
    }
    raise_ends_.reset();
    whole_ = Whole(false);
    SetRight();
  }
  if (bucket_) {
    bucket_->Advance(now);
  }
  if (const int64_t window = WindowOf(day); window > window_) {
    window_ = window;
    used_ = 0;
    SetRight();
  }
}

void QuotaCounter::RefreshRight() { SetRight(); }

bool QuotaCounter::Fits(uint64_t cost) const {
  return cost == 0 || (bucket_ ? bucket_->Fits(cost) : used_ + cost <= right_.units);
}

QuotaViolation QuotaCounter::Violation(uint64_t cost, const QuotaNow& now) const {
  QuotaViolation violation{.state = State(now), .cost = cost};
  violation.never = cost > (bucket_ ? whole_.burst : whole_.units);
  if (violation.never) {
    return violation;
  }
  switch (kind_) {
    case QuotaKind::kRate:
      if (raise_ends_) {
        violation.retry_after =
            bucket_->UntilFits(cost, RateOf(Whole(false)), *raise_ends_ - now.mono);
        violation.never = !violation.retry_after && right_ == whole_;
      } else {
        violation.retry_after = bucket_->UntilFits(cost);
      }
      break;
    case QuotaKind::kSemaphore:
      violation.retry_after = kSemaphoreRetry;
      break;
    case QuotaKind::kBudget:
      if (cost <= right_.units) {
        violation.retry_after = violation.state.reset;
      }
      break;
  }
  return violation;
}

QuotaState QuotaCounter::State(const QuotaNow& now) const {
  QuotaState state{.id = limit_.id,
                   .scope = limit_.scope,
                   .metric = limit_.metric,
                   .mode = limit_.mode,
                   .limit = whole_.units,
                   .burst = whole_.burst};
  if (bucket_) {
    state.remaining = bucket_->remaining();
    state.reset = bucket_->UntilEmpty();
    return state;
  }
  state.used = used_;
  state.remaining = right_.units - std::min(right_.units, used_);
  if (kind_ == QuotaKind::kBudget) {
    const WallTime end =
        IsMonthly(limit_.metric) ? StartOfMonth(window_ + 1) : StartOfDay(window_ + 1);
    state.reset = std::max(Duration(0), end - now.wall);
  }
  return state;
}

QuotaCounter::Charge QuotaCounter::Take(uint64_t cost) {
  ++num_open_;
  Charge charge{.counter = this, .cost = cost, .ticket = 0, .window = window_};
  if (bucket_) {
    charge.ticket = bucket_->Take(cost);
  } else {
    used_ += cost;
  }
  return charge;
}

QuotaCounter::Charge QuotaCounter::Adopt(uint64_t cost) {
  CHECK(!bucket_);
  ++num_open_;
  used_ += kind_ == QuotaKind::kSemaphore ? cost : 0;
  return {.counter = this, .cost = cost, .ticket = 0, .window = window_};
}

void QuotaCounter::Settle(const Charge& charge, uint64_t actual) {
  QuotaCounter& counter = *charge.counter;
  CHECK(actual <= charge.cost);
  --counter.num_open_;
  if (counter.bucket_) {
    counter.bucket_->Settle(charge.ticket, charge.cost - actual);
  } else if (charge.window == counter.window_) {
    const bool given_back = counter.kind_ == QuotaKind::kSemaphore;
    counter.used_ -= given_back ? charge.cost : charge.cost - actual;
  }
}

}  // namespace inferd
