// RateBucket: a generic cell rate algorithm by cost, exact in integers, whose charges may shrink
// afterwards.
//
// It promises: for every two times, what was charged between them, both included, is at most
// burst + rate * (time between). A charge counts when it was taken, with what it came to in the
// end: all of it while it is open. And it refuses nothing that this allows.
//
// The bucket holds the *backlog*: charges less what drained. A charge fits if the backlog stays
// within the burst. Giving back r of an old charge must not simply lower the backlog by r: if the
// bucket ran empty since, that part would have drained anyway, and giving it back would let more
// through than the promise allows. What comes back is min(r, least backlog since the charge). See
// docs/design/0005-quotas.md for the proof.
//
// That least is never lower for a later charge, and neighbours soon share it: a drain below several
// makes them one. So charges are kept as runs with the same least, by their differences: giving
// back lowers all later leasts by changing one.
// Source: ITU-T I.371 (GCRA); Lindley's recursion for the backlog.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/container/inlined_vector.h"
#include "base/clock.h"

namespace inferd {

// How fast a bucket drains and what it holds.
struct BucketRate {
  uint64_t per_minute = 0;
  uint64_t burst = 0;
  friend bool operator==(const BucketRate&, const BucketRate&) = default;
};

// One thread at a time. Times never run back.
class RateBucket {
 public:
  // Starts full: whatever was spent before it was there, no interval holds more than the promise.
  RateBucket(const BucketRate& rate, TimePoint now);

  // Drains until `now`, which the other calls take as the time they happen.
  void Advance(TimePoint now);
  // From the time of the last Advance on.
  void SetRate(const BucketRate& rate) { rate_ = rate; }
  const BucketRate& rate() const { return rate_; }

  bool Fits(uint64_t cost) const;
  // Until `cost` fits if nothing else happens: to the nanosecond. Nothing: never.
  std::optional<Duration> UntilFits(uint64_t cost) const;
  // The same if the rate changes to `next` after `change`.
  std::optional<Duration> UntilFits(uint64_t cost, const BucketRate& next, Duration change) const;

  // Names an open charge.
  using Ticket = uint64_t;
  // Charges, whether it fits or not.
  Ticket Take(uint64_t cost);
  // Ends an open charge and takes `unused` of it back.
  void Settle(Ticket ticket, uint64_t unused);

  // Whole units that fit now.
  uint64_t remaining() const;
  // Until all of the burst fits again.
  Duration UntilEmpty() const;
  size_t num_open() const { return num_open_; }

 private:
  // Units times nanoseconds of a minute: drains by rate_.per_minute in each nanosecond.
  using Backlog = __int128;
  // Open charges with the same least backlog since they were taken, themselves included.
  struct Run {
    Ticket first = 0;  // up to the next run's
    size_t num_open = 0;
    Backlog rise = 0;  // of the least, from the run before: above 0 but for the first
  };
  using Runs = absl::InlinedVector<Run, 1>;  // by ticket; usually one

  Backlog LeastOf(Runs::const_iterator run) const;
  Runs::iterator MergeWhileNoRise(Runs::iterator run);

  BucketRate rate_;
  TimePoint now_;
  Backlog backlog_;
  Ticket next_ticket_ = 0;
  Runs runs_;
  Backlog last_least_ = 0;  // of the last run: all rises together
  size_t num_open_ = 0;
};

}  // namespace inferd
