// quota_bench [--runs N] [--seconds S]: what the quota ledger costs, and that nothing passes it.
//   latency    five levels of limits, 1,000 tenants under one org, 8 threads paced to 100,000
//              reserves a second in all; each reservation is settled 64 reserves later. Beside it
//              the same with an org for each thread: what is left there is the machine's doing
//   exactness  64 threads, random sizes, cancels, a restart and clock jumps between rounds: every
//              interval of every rate, every budget, and the ledger against what was settled
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "bench/statistics.h"
#include "governance/quota/quota_ledger.h"
#include "tests/support/interval_oracle.h"

namespace inferd {
namespace {

constexpr int kTenants = 1000;
constexpr int kPacedThreads = 8;
constexpr int kReservesPerSecond = 100'000;
constexpr size_t kOpenPerThread = 64;

// Whose requests lie under one org, and so under one lock.
enum class Orgs : uint8_t {
  kOne,        // everyone's: the workload
  kOneAThread  // each thread's: the same work, and nobody waits for a lock
};

std::string OrgOf(Orgs orgs, int thread) {
  return orgs == Orgs::kOne ? "org" : "org-" + std::to_string(thread);
}

// Rates, a semaphore and a budget at each of the five levels of every tenant.
void AddFiveLevels(const std::string& org, int num_tenants, std::vector<QuotaLimit>& limits) {
  constexpr uint64_t kPlenty = uint64_t{1} << 40;
  const auto add = [&limits](const QuotaAccount& scope) {
    for (const QuotaMetric metric : {QuotaMetric::kRequestsPerMinute,
                                     QuotaMetric::kOutputTokensPerMinute,
                                     QuotaMetric::kConcurrency,
                                     QuotaMetric::kTokensPerDay}) {
      limits.push_back({.id = std::to_string(limits.size()),
                        .scope = scope,
                        .metric = metric,
                        .limit = kPlenty});
    }
  };
  QuotaAccount scope{.org = org};
  add(scope);
  for (int i = 0; i < num_tenants; ++i) {
    scope = {.org = org, .tenant = "tenant-" + std::to_string(i)};
    add(scope);
    scope.project = "project";
    add(scope);
    scope.key = "key";
    add(scope);
    scope.model = "model";
    add(scope);
  }
}

std::vector<QuotaLimit> FiveLevels(Orgs orgs) {
  std::vector<QuotaLimit> limits;
  if (orgs == Orgs::kOne) {
    AddFiveLevels(OrgOf(orgs, 0), kTenants, limits);
    return limits;
  }
  for (int thread = 0; thread < kPacedThreads; ++thread) {
    AddFiveLevels(OrgOf(orgs, thread), kTenants / kPacedThreads, limits);
  }
  return limits;
}

QuotaAccount AccountOf(std::string org, uint64_t tenant) {
  return {.org = std::move(org),
          .tenant = "tenant-" + std::to_string(tenant),
          .project = "project",
          .key = "key",
          .model = "model"};
}

// One thread's share: one reserve each time it is due; a late one is made at once.
void PacedReserves(QuotaLedger& ledger, Orgs orgs, int thread, std::vector<double>& waits_us) {
  const Clock& clock = SystemClock();
  SplitMix64 random(static_cast<uint64_t>(thread));
  const Duration pace(int64_t{1'000'000'000} * kPacedThreads / kReservesPerSecond);
  const TimePoint start = clock.Now();
  std::deque<QuotaReservation> open;
  for (int64_t call = 0; call < static_cast<int64_t>(waits_us.capacity()); ++call) {
    const TimePoint due = start + pace * call + pace * thread / kPacedThreads;
    while (clock.Now() < due) {
      std::this_thread::sleep_until(due);
    }
    const QuotaAccount account = AccountOf(
        OrgOf(orgs, thread),
        random.Below(
            static_cast<uint64_t>(orgs == Orgs::kOne ? kTenants : kTenants / kPacedThreads)));
    const QuotaAmounts amounts{.in = 100, .out = 200, .conc = 1, .kv = 300};
    const TimePoint before = clock.Now();
    QuotaDecision decision = ledger.Reserve(account, amounts);
    waits_us.push_back(std::chrono::duration<double, std::micro>(clock.Now() - before).count());
    if (decision.reservation) {
      open.push_back(*std::move(decision.reservation));
    }
    if (open.size() > kOpenPerThread) {
      (void)open.front().Settle({.in = 100, .out = random.Below(201)});
      open.pop_front();
    }
  }
}

double LatencyRun(Orgs orgs, double seconds, double& reserves_per_s) {
  const Clock& clock = SystemClock();
  QuotaLedger ledger;
  if (const Status set = ledger.SetLimits(FiveLevels(orgs)); !set.ok()) {
    std::fprintf(stderr, "quota_bench: %s\n", set.ToString().c_str());
    std::exit(1);
  }
  std::vector<std::vector<double>> waits(kPacedThreads);
  std::vector<std::thread> threads;
  const TimePoint start = clock.Now();
  for (int i = 0; i < kPacedThreads; ++i) {
    std::vector<double>& of_thread = waits[static_cast<size_t>(i)];
    of_thread.reserve(static_cast<size_t>(seconds * kReservesPerSecond / kPacedThreads));
    threads.emplace_back([&, i] { PacedReserves(ledger, orgs, i, of_thread); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const double took = std::chrono::duration<double>(clock.Now() - start).count();
  std::vector<double> all;
  for (const std::vector<double>& of_thread : waits) {
    all.insert(all.end(), of_thread.begin(), of_thread.end());
  }
  reserves_per_s = static_cast<double>(all.size()) / took;
  std::printf("  %s: p50 %.2f p90 %.2f p99 %.2f p99.9 %.2f us at %.0f/s\n",
              orgs == Orgs::kOne ? "one lock" : "no shared lock",
              Quantile(all, 0.5),
              Quantile(all, 0.9),
              Quantile(all, 0.99),
              Quantile(all, 0.999),
              reserves_per_s);
  return Quantile(all, 0.99);
}

class JumpingClock final : public Clock {
 public:
  TimePoint Now() const override { return TimePoint(Duration(mono_.load())); }
  WallTime WallNow() const override { return WallTime(Duration(wall_.load())); }
  void Advance(Duration by) {
    mono_ += by.count();
    wall_ += by.count();
  }
  void StepWall(Duration by) { wall_ += by.count(); }

 private:
  std::atomic<int64_t> mono_{0};
  std::atomic<int64_t> wall_{int64_t{20'000} * 86'400 * 1'000'000'000};
};

struct Exactness {
  uint64_t overrun = 0;
  uint64_t difference = 0;
  uint64_t admitted = 0;
  uint64_t refused = 0;
};

// What the threads of one round settled.
struct Round {
  std::atomic<uint64_t> out{0};
  std::atomic<uint64_t> tokens{0};
  std::atomic<uint64_t> admitted{0};
  std::atomic<uint64_t> refused{0};
};

void RandomRequests(QuotaLedger& ledger, uint64_t seed, Round& round) {
  SplitMix64 random(seed);
  for (int call = 0; call < 200; ++call) {
    QuotaDecision decision =
        ledger.Reserve(AccountOf("org", random.Below(4)),
                       {.in = random.Below(30), .out = 1 + random.Below(300), .conc = 1, .kv = 1});
    if (!decision.reservation) {
      ++round.refused;
      continue;
    }
    ++round.admitted;
    QuotaReservation& reservation = *decision.reservation;
    const uint64_t leased = reservation.Lease(random.Below(301));
    const uint64_t end = random.Below(8);
    QuotaAmounts charged;
    if (end == 0) {
      reservation.Cancel();
    } else {
      // One in eight is forgotten, as by a crash: its upper bound is what it cost.
      const QuotaAmounts& bound = reservation.upper_bound();
      charged = end == 1 ? bound : reservation.Settle({.in = bound.in, .out = leased}).charged;
    }
    round.out += charged.out;
    round.tokens += charged.in + charged.out;
  }
}

Exactness RunRounds(int rounds) {
  constexpr int kThreads = 64;
  const BucketRate rate{.per_minute = 60'000, .burst = 90'000};
  const uint64_t day_limit = 600'000;
  const std::vector<QuotaLimit> limits = {{.id = "rate",
                                           .scope = {.org = "org"},
                                           .metric = QuotaMetric::kOutputTokensPerMinute,
                                           .limit = rate.per_minute,
                                           .burst = rate.burst},
                                          {.id = "day",
                                           .scope = {.org = "org"},
                                           .metric = QuotaMetric::kTokensPerDay,
                                           .limit = day_limit}};
  JumpingClock clock;
  SplitMix64 random(3);
  Exactness result;
  IntervalOracle oracle(rate);
  std::map<UtcDay, uint64_t> days;
  UtcDay day = DayOf(clock.WallNow());
  UsageByAccount usage;
  for (int i = 0; i < rounds; ++i) {
    // A new process every round: rates start spent, budgets come back.
    QuotaLedger ledger({.clock = &clock});
    ledger.Restore(usage);
    (void)ledger.SetLimits(limits);
    for (int part = 0; part < 2; ++part) {
      clock.Advance(Duration(static_cast<int64_t>(random.Below(90'000'000'000))));
      if (random.Below(3) == 0) {
        clock.StepWall(std::chrono::hours(static_cast<int64_t>(random.Below(40)) - 25));
      }
      day = std::max(day, DayOf(clock.WallNow()));
      Round round;
      std::vector<std::thread> threads;
      for (int thread = 0; thread < kThreads; ++thread) {
        const uint64_t seed = random.Next();
        threads.emplace_back([&ledger, &round, seed] { RandomRequests(ledger, seed, round); });
      }
      for (std::thread& thread : threads) {
        thread.join();
      }
      oracle.Charge(clock.Now(), round.out);
      days[day] += round.tokens;
      result.admitted += round.admitted;
      result.refused += round.refused;
    }
    usage = ledger.CurrentUsage();
    uint64_t booked = 0;
    for (const auto& [account, use] : usage) {
      booked += use.day == day ? use.of_day.tokens : 0;
    }
    result.difference += std::max(booked, days[day]) - std::min(booked, days[day]);
    result.difference += ledger.Check(usage).difference;
  }
  result.overrun = oracle.Overrun();
  for (const auto& [each, tokens] : days) {
    result.overrun += tokens - std::min(tokens, day_limit);
  }
  return result;
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  int runs = 5;
  double seconds = 3;
  int rounds = 60;
  CLI::App app("What the quota ledger costs, and that nothing passes it");
  app.add_option("--runs", runs, "runs of the latency workload; their median counts");
  app.add_option("--seconds", seconds, "of each run");
  app.add_option("--rounds", rounds, "of the exactness workload");
  CLI11_PARSE(app, argc, argv);
  const inferd::Exactness exact = inferd::RunRounds(rounds);
  std::printf("WORKLOAD quota exactness: 64 threads, %d restarts, %llu admitted, %llu refused\n",
              rounds,
              static_cast<unsigned long long>(exact.admitted),
              static_cast<unsigned long long>(exact.refused));
  std::printf("RESULT quota.overrun_tokens %llu tokens\n",
              static_cast<unsigned long long>(exact.overrun));
  std::printf("RESULT quota.ledger_difference %llu tokens\n",
              static_cast<unsigned long long>(exact.difference));
  std::vector<double> p99;
  std::vector<double> floor;
  std::vector<double> rates;
  for (int run = 0; run < runs; ++run) {
    rates.push_back(0);
    p99.push_back(inferd::LatencyRun(inferd::Orgs::kOne, seconds, rates.back()));
    double rate = 0;
    floor.push_back(inferd::LatencyRun(inferd::Orgs::kOneAThread, seconds, rate));
  }
  std::printf(
      "WORKLOAD quota latency: 1,000 tenants of one org, 20 limits each, 8 threads, "
      "%.0f reserves/s\n",
      inferd::Median(rates));
  std::printf("RESULT quota.reserve_p99_us %.2f us\n", inferd::Median(p99));
  std::printf("RESULT quota.reserve_p99_us_no_lock %.2f us\n", inferd::Median(floor));
  return 0;
}
