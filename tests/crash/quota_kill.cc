#include "tests/crash/quota_kill.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "base/ulid.h"
#include "governance/audit/audit_writer.h"
#include "governance/audit/log_core.h"
#include "governance/quota_leaf.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/trust_policy.h"
#include "tests/support/interval_oracle.h"

namespace inferd {
namespace {

using Json = nlohmann::json;

constexpr char kName[] = "example.com/inferd-audit/n1";
constexpr int kThreads = 64;
// So that no log grows long: each point reads all of it.
constexpr uint64_t kPointsOfALog = 10;
constexpr BucketRate kRate = {.per_minute = 600'000, .burst = 3000};
constexpr uint64_t kDayTokens = 60'000;
// Exit codes of the child, none of which should be seen.
constexpr int kNoStart = 3;
constexpr int kDisagrees = 4;

// Remembers what it said last to each thread: within Reserve, the time of the charge to what the
// org shares.
class RememberingClock final : public Clock {
 public:
  TimePoint Now() const override { return Last() = SystemClock().Now(); }
  WallTime WallNow() const override { return SystemClock().WallNow(); }
  static TimePoint& Last() {
    thread_local TimePoint last;
    return last;
  }
};

AuditLogOptions LogOptions(const std::string& folder, const NoteSigner& signer) {
  AuditLogOptions options;
  options.folder = folder;
  options.name = kName;
  options.node = "n1";
  options.boot = ReadBootId();
  options.signer = &signer;
  options.segment_bytes = 128 << 10;
  options.checkpoint_interval = std::chrono::milliseconds(5);
  options.reserve_bytes = 0;
  return options;
}

std::vector<QuotaLimit> Limits() {
  return {{.id = "rate",
           .scope = {.org = "o"},
           .metric = QuotaMetric::kOutputTokensPerMinute,
           .limit = kRate.per_minute,
           .burst = kRate.burst},
          {.id = "day",
           .scope = {.org = "o"},
           .metric = QuotaMetric::kTokensPerDay,
           .limit = kDayTokens}};
}

std::vector<std::unique_ptr<ShardReader>> OpenShards(const std::string& folder,
                                                     const NoteSigner& signer) {
  std::vector<std::unique_ptr<ShardReader>> shards;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/log", error)) {
    auto shard = ShardReader::Open(
        SystemFiles(), entry.path().string(), TrustPolicy::OfLog(signer.verifier()));
    if (shard.ok()) {
      shards.push_back(*std::move(shard));
    }
  }
  return shards;
}

StatusOr<UsageFold> FoldOf(const std::vector<std::unique_ptr<ShardReader>>& shards) {
  std::vector<EntryReader*> readers;
  for (const auto& shard : shards) {
    readers.push_back(shard.get());
  }
  return UsageFold::Restore(readers);
}

// ---- The child ----

struct Spender {
  AuditLog& log;
  QuotaLedger& ledger;
  int tell;  // one byte for each leaf that is durable

  AuditReceipt Append(LeafDraft draft) const {
    const auto receipt = log.AppendAndWait(std::move(draft));
    const char told = 'x';
    if (!receipt.ok() || write(tell, &told, 1) != 1) {
      _exit(kNoStart);
    }
    return *receipt;
  }

  void SpendForever(uint64_t seed) const {
    SplitMix64 random(seed);
    std::vector<QuotaReservation> left_open;
    while (true) {
      QuotaDecision decision = ledger.Reserve(
          {.org = "o", .tenant = "t" + std::to_string(random.Below(4)), .key = "k", .model = "m"},
          {.in = random.Below(20), .out = 1 + random.Below(200), .conc = 1});
      const TimePoint at = RememberingClock::Last();
      if (!decision.reservation) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        continue;
      }
      QuotaReservation& reservation = *decision.reservation;
      if (random.Below(8) == 0) {
        reservation.Cancel();
        continue;
      }
      LeafDraft admitted;
      admitted.type = LeafType::kInferenceAdmitted;
      admitted.tenant = TenantId(reservation.account().tenant);
      admitted.rid = RequestId(NewUlid(SystemClock().WallNow()));
      admitted.quota = ReservedFacts(reservation);
      admitted.detail["at"] = static_cast<uint64_t>(at.time_since_epoch().count());
      LeafDraft completed;
      completed.type = LeafType::kInferenceCompleted;
      completed.tenant = admitted.tenant;
      completed.rid = admitted.rid;
      completed.admitted = Append(std::move(admitted));
      if (random.Below(8) == 0) {
        left_open.push_back(std::move(reservation));
        continue;
      }
      const uint64_t leased = reservation.Lease(random.Below(201));
      completed.outcome = OutcomeFacts{
          .settle =
              reservation.Settle({.in = reservation.upper_bound().in, .out = leased}).charged};
      (void)Append(std::move(completed));
    }
  }
};

[[noreturn]] void Spend(const std::string& folder,
                        const NoteSigner& signer,
                        uint64_t seed,
                        int tell) {
  const RememberingClock clock;
  auto log = AuditWriter::Open(LogOptions(folder, signer));
  if (!log.ok() || !(*log)->Flush().ok()) {
    _exit(kNoStart);
  }
  const auto fold = FoldOf(OpenShards(folder, signer));
  if (!fold.ok()) {
    _exit(kNoStart);
  }
  QuotaLedger ledger({.clock = &clock});
  ledger.Restore(fold->usage());
  CHECK(ledger.SetLimits(Limits()).ok());
  const LedgerCheck check = ledger.Check(fold->usage());
  if (check.difference > 0 || check.num_behind > 0 || fold->num_open() > 0) {
    _exit(kDisagrees);
  }
  for (LeafDraft& draft : SnapshotDrafts(*fold)) {
    if (seed % 2 == 0 && !(*log)->AppendAndWait(std::move(draft)).ok()) {
      _exit(kNoStart);
    }
  }
  const Spender spender{.log = **log, .ledger = ledger, .tell = tell};
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&spender, s = seed * kThreads + i] { spender.SpendForever(s); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  _exit(0);
}

// ---- The parent ----

class Killer {
 public:
  explicit Killer(const QuotaKillOptions& options)
      : options_(options), random_(options.seed), signer_(*NoteSigner::Generate(kName)) {}

  QuotaKillCounts Run() {
    for (uint64_t point = 0; point < options_.points; ++point) {
      if (point % kPointsOfALog == 0) {
        std::filesystem::remove_all(options_.folder);
      }
      KillOnce();
      CheckLog();
      if (point % kPointsOfALog == kPointsOfALog - 1 || point + 1 == options_.points) {
        counts_.admitted += num_admitted_;
        counts_.aborted += num_aborted_;
      }
    }
    std::filesystem::remove_all(options_.folder);
    return std::move(counts_);
  }

 private:
  void KillOnce() {
    int ends[2];
    CHECK(pipe(ends) == 0);
    const uint64_t seed = random_.Next() % 1'000'000;
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      close(ends[0]);
      Spend(options_.folder, signer_, seed, ends[1]);
    }
    close(ends[1]);
    // Every fourth is killed while it starts or recovers.
    const uint64_t leaves = random_.Below(4) == 0 ? 0 : 1 + random_.Below(150);
    std::array<char, 256> buffer;
    uint64_t told = 0;
    while (told < leaves) {
      const ssize_t n = read(ends[0], buffer.data(), buffer.size());
      if (n <= 0) {
        break;
      }
      told += static_cast<uint64_t>(n);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random_.Below(20'000)));
    kill(child, SIGKILL);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    close(ends[0]);
    ++counts_.kills;
    if (!WIFSIGNALED(status)) {
      ++counts_.inconsistent;
      Note(absl::StrFormat("the child ended by itself with %d", WEXITSTATUS(status)));
    }
  }

  struct Request {
    std::string day;
    TimePoint at{};
    QuotaAmounts cost{};
  };

  static QuotaAmounts Amounts(const Json& leaf, const char* key) {
    const Json amounts = leaf.value(key, Json::object());
    return {.in = amounts.value("in", uint64_t{0}), .out = amounts.value("out", uint64_t{0})};
  }

  void CheckLog() {
    {
      // Closes what the kill cut off.
      const auto core = LogCore::Open(LogOptions(options_.folder, signer_));
      if (!core.ok() || !(*core)->Publish().ok()) {
        ++counts_.inconsistent;
        Note("the log does not open");
        return;
      }
    }
    std::map<std::pair<std::string, uint64_t>, Request> requests;
    num_aborted_ = 0;
    const auto shards = OpenShards(options_.folder, signer_);
    for (const auto& shard : shards) {
      const Status read =
          shard->Visit(0, shard->Size().value_or(0), [&](uint64_t index, std::string_view bytes) {
            const Json leaf = Json::parse(bytes);
            const std::string type = leaf["t"];
            if (type == "inference.admitted") {
              requests[{shard->origin(), index}] = {
                  .day = leaf["quota"]["win"],
                  .at = TimePoint(Duration(leaf["d"]["at"].get<int64_t>())),
                  .cost = Amounts(leaf["quota"], "res")};
            } else if (type == "inference.completed" || type == "inference.aborted") {
              num_aborted_ += type == "inference.aborted" ? 1 : 0;
              const std::string origin = leaf.value("adm_origin", shard->origin());
              requests[{origin, leaf["adm"].get<uint64_t>()}].cost = Amounts(leaf, "settle");
            }
            return OkStatus();
          });
      if (!read.ok()) {
        ++counts_.inconsistent;
        Note(Message(read));
      }
    }
    num_admitted_ = requests.size();
    Judge(requests, shards);
  }

  void Judge(const std::map<std::pair<std::string, uint64_t>, Request>& requests,
             const std::vector<std::unique_ptr<ShardReader>>& shards) {
    std::vector<Request> by_time;
    std::map<std::string, uint64_t> days;
    for (const auto& [place, request] : requests) {
      by_time.push_back(request);
      days[request.day] += request.cost.in + request.cost.out;
    }
    std::sort(by_time.begin(), by_time.end(), [](const Request& a, const Request& b) {
      return a.at < b.at;
    });
    IntervalOracle oracle(kRate);
    for (const Request& request : by_time) {
      oracle.Charge(request.at, request.cost.out);
    }
    uint64_t overrun = oracle.Overrun();
    for (const auto& [day, tokens] : days) {
      overrun += tokens - std::min(tokens, kDayTokens);
    }
    uint64_t difference = 0;
    UsageFold whole;
    for (const auto& shard : shards) {
      difference += whole.CatchUp(*shard).ok() ? 0 : 1;
    }
    const auto restored = FoldOf(shards);
    difference += restored.ok() && restored->usage() == whole.usage() ? 0 : 1;
    uint64_t last_day = 0;
    for (const auto& [account, usage] : whole.usage()) {
      last_day += usage.day == LastDay(whole) ? usage.of_day.tokens : 0;
    }
    const uint64_t summed = days.empty() ? 0 : days.rbegin()->second;
    difference += std::max(last_day, summed) - std::min(last_day, summed);
    if (overrun + difference > 0) {
      Note(absl::StrFormat("overrun %d, difference %d", overrun, difference));
    }
    counts_.overrun += overrun;
    counts_.difference += difference;
  }

  static UtcDay LastDay(const UsageFold& fold) {
    UtcDay last = 0;
    for (const auto& [account, usage] : fold.usage()) {
      last = std::max(last, usage.day);
    }
    return last;
  }

  void Note(std::string_view what) {
    if (counts_.first.empty()) {
      counts_.first = what;
    }
  }

  const QuotaKillOptions options_;
  SplitMix64 random_;
  const NoteSigner signer_;
  QuotaKillCounts counts_;
  uint64_t num_admitted_ = 0;  // of the log at hand
  uint64_t num_aborted_ = 0;
};

}  // namespace

QuotaKillCounts KillSpenders(const QuotaKillOptions& options) { return Killer(options).Run(); }

}  // namespace inferd
