// audit_bench [--folder DIR] [--seconds S] [--in-flight N]: what the audit log costs.
//   append     N appenders, each waiting for its receipt before its next leaf of about 1 KiB;
//              then the whole verification of what they wrote, on one core
//   verify     the same verification of requests: an admitted leaf of about 955 bytes, a completed
//              one of about 591
//   recovery   opening a log whose last process died with the longest write-ahead log that can be:
//              the writer lets 65,536 leaves be unpublished. Of usual leaves that is some 50 MiB,
//              of leaves as large as they may be 1 GiB. Until it takes leaves again. Beside it what
//              hashing these leaves, and writing them to the device, cost alone. --wal-mib N: of
//              usual leaves, longer than it can be
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "base/file_batch.h"
#include "base/ulid.h"
#include "governance/audit/audit_writer.h"
#include "governance/audit/log_core.h"
#include "governance/verify/merkle.h"
#include "governance/verify/trust_policy.h"
#include "governance/verify/verifier.h"

namespace inferd {
namespace {

constexpr char kName[] = "bench.example/inferd-audit/n1";

constexpr size_t kGroupLeaves = 256;
constexpr int kVerifyRounds = 5;
const size_t kUnpublishedMax = AuditLogOptions().unpublished_leaves_max;

struct Arguments {
  std::string folder = "build/audit_bench";
  double seconds = 10;
  size_t in_flight = 128;
  uint64_t requests = 100'000;
  uint64_t wal_mib = 0;
  std::string suffix;
  std::vector<std::string> only{"append", "verify", "recovery"};
};

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

LeafDraft KibibyteDraft() {
  LeafDraft draft;
  draft.type = LeafType::kAdminAction;
  draft.tenant = TenantId("acme");
  draft.actor = ActorFacts{.kind = "workload", .id = "spiffe://example.com/app", .authn = "mtls"};
  draft.src.assign(480, 'x');
  return draft;
}

// An appender is a slot; its next leaf goes out when its last receipt came.
struct Appenders {
  explicit Appenders(size_t count) : ready(count), started(count) {}
  BoundedQueue<size_t> ready;
  std::vector<TimePoint> started;
  std::vector<Duration> waits;  // log's writer thread, then main
  std::atomic<uint64_t> failed{0};
};

void AppendFor(AuditLog& log, Appenders& appenders, double seconds) {
  const Clock& clock = SystemClock();
  const TimePoint end =
      clock.Now() + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  const LeafDraft draft = KibibyteDraft();
  for (size_t slot = 0; slot < appenders.started.size(); ++slot) {
    (void)appenders.ready.TryPush(size_t{slot});
  }
  size_t idle = 0;
  while (idle < appenders.started.size()) {
    for (const size_t slot : appenders.ready.WaitAndDrain(std::chrono::milliseconds(100))) {
      const TimePoint now = clock.Now();
      if (now >= end) {
        ++idle;
        continue;
      }
      appenders.started[slot] = now;
      log.Append(draft, [&appenders, &clock, slot](const StatusOr<AuditReceipt>& receipt) {
        appenders.failed += receipt.ok() ? 0 : 1;
        appenders.waits.push_back(clock.Now() - appenders.started[slot]);
        (void)appenders.ready.TryPush(size_t{slot});
      });
    }
  }
}

// Of this thread, or of the process (RUSAGE_SELF).
double CpuSeconds(int who = RUSAGE_THREAD) {
  rusage usage = {};
  getrusage(who, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

bool Succeeded(const Status& status) {
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(Message(status)).c_str());
  }
  return status.ok();
}

AuditLogOptions OptionsOf(const Arguments& arguments, const NoteSigner& signer) {
  AuditLogOptions options;
  options.folder = arguments.folder;
  options.name = kName;
  options.node = "n1";
  options.boot = ReadBootId();
  options.signer = &signer;
  return options;
}

// Median over rounds: the machine's clock wanders.
bool Verify(const Arguments& arguments, const NoteSigner& signer, const std::string& key) {
  std::vector<double> speeds;
  for (int round = 0; round < kVerifyRounds; ++round) {
    const double cpu_start = CpuSeconds();
    const auto report = VerifyLog(SystemFiles(),
                                  arguments.folder + "/log",
                                  TrustPolicy::OfLog(signer.verifier()),
                                  VerifyOptions());
    const double cpu = CpuSeconds() - cpu_start;
    if (!report.ok() || report->num_problems > 0) {
      std::fprintf(stderr, "the log does not verify\n");
      return false;
    }
    speeds.push_back(static_cast<double>(report->num_leaves) / cpu);
  }
  std::sort(speeds.begin(), speeds.end());
  std::printf("RESULT %s%s %.0f leaves/s\n",
              key.c_str(),
              arguments.suffix.c_str(),
              speeds[speeds.size() / 2]);
  return true;
}

bool MeasureAppend(const Arguments& arguments, const NoteSigner& signer) {
  auto log = AuditWriter::Open(OptionsOf(arguments, signer));
  if (!Succeeded(log.status())) {
    return false;
  }
  Appenders appenders(arguments.in_flight);
  const TimePoint start = SystemClock().Now();
  AppendFor(**log, appenders, arguments.seconds);
  const double elapsed = Seconds(SystemClock().Now() - start);
  if (!Succeeded((*log)->Close()) || appenders.failed > 0) {
    return false;
  }
  std::sort(appenders.waits.begin(), appenders.waits.end());
  const auto percentile = [&appenders](double p) {
    return 1e3 * Seconds(appenders.waits[static_cast<size_t>(
                     p * static_cast<double>(appenders.waits.size() - 1))]);
  };
  const std::string& suffix = arguments.suffix;
  std::printf("WORKLOAD %zu leaves of about 1 KiB, %zu appenders, %s\n",
              appenders.waits.size(),
              arguments.in_flight,
              arguments.folder.c_str());
  std::printf("RESULT audit.leaves_per_s%s %.0f leaves/s\n",
              suffix.c_str(),
              static_cast<double>(appenders.waits.size()) / elapsed);
  std::printf("RESULT audit.ack_p50_ms%s %.3f ms\n", suffix.c_str(), percentile(0.5));
  std::printf("RESULT audit.ack_p99_ms%s %.3f ms\n", suffix.c_str(), percentile(0.99));
  log->reset();
  return Verify(arguments, signer, "audit.verify_1kib_leaves_per_s_core");
}

// A log without threads that keeps its leaves to itself: nothing is published but by the caller.
class Requests {
 public:
  explicit Requests(LogCore& core) : core_(core) {}

  // One group: as many beginnings as ends.
  void CommitGroup() {
    std::vector<LogCore::Entry> entries;
    std::vector<AuditReceipt> receipts;
    for (size_t i = 0; i < kGroupLeaves / 2; ++i) {
      entries.push_back({Admitted(), [&receipts](const StatusOr<AuditReceipt>& receipt) {
                           receipts.push_back(receipt.value_or(AuditReceipt()));
                         }});
    }
    std::vector<RequestId> rids;
    for (const LogCore::Entry& entry : entries) {
      rids.push_back(entry.draft.rid);
    }
    core_.Commit(std::move(entries));
    entries.clear();
    for (size_t i = 0; i < receipts.size(); ++i) {
      entries.push_back({Completed(rids[i], receipts[i]), [](const StatusOr<AuditReceipt>&) {}});
    }
    core_.Commit(std::move(entries));
  }

 private:
  static ModelFacts Model() {
    return {.ref = "smollm2-135m-instruct-q4",
            .digest = LeafHash("model"),
            .ver = "1.4",
            .quant = "q4_k_m",
            .tok = LeafHash("tokenizer"),
            .tmpl = LeafHash("template"),
            .engine = "sha256:" + LeafHash("engine").Hex(),
            .hw = "AMD EPYC 9454, 2 threads, avx512-vnni",
            .det = "batch-invariant"};
  }
  static LeafDraft Admitted() {
    LeafDraft draft;
    draft.type = LeafType::kInferenceAdmitted;
    draft.tenant = TenantId("acme");
    draft.rid = RequestId(NewUlid(SystemClock().WallNow()));
    draft.actor = ActorFacts{.kind = "workload", .id = "uid:1000", .authn = "peercred"};
    draft.src = "unix:1000";
    draft.model = Model();
    draft.quota = QuotaFacts{.dec = "reserved", .res = {.in = 512, .out = 256}, .hit = {}};
    InputFacts& input = draft.input.emplace();
    input.content = CommitTo({}, "input");
    input.size_bytes = 2048;
    input.num_tokens = 512;
    draft.sampling = SamplingFacts{.max_tokens = 256, .seed = 77, .rng = "philox4x32-10/1"};
    return draft;
  }
  static LeafDraft Completed(const RequestId& rid, const AuditReceipt& admitted) {
    LeafDraft draft;
    draft.type = LeafType::kInferenceCompleted;
    draft.tenant = TenantId("acme");
    draft.rid = rid;
    draft.admitted = admitted;
    OutcomeFacts& out = draft.outcome.emplace();
    out.content = CommitTo({}, "output");
    out.size_bytes = 900;
    out.num_tokens = 200;
    out.finish = "stop";
    out.status = "OK";
    out.use = {.in = 512, .cached = 128, .out = 200};
    out.settle = {.in = 512, .out = 200};
    out.total_us = 1'000'000;
    return draft;
  }

  LogCore& core_;
};

bool MeasureVerify(const Arguments& arguments, const NoteSigner& signer) {
  auto core = LogCore::Open(OptionsOf(arguments, signer));
  if (!Succeeded(core.status())) {
    return false;
  }
  Requests requests(**core);
  for (uint64_t done = 0; done < arguments.requests; done += kGroupLeaves / 2) {
    requests.CommitGroup();
    if (!Succeeded((*core)->Publish())) {
      return false;
    }
  }
  if (!Succeeded((*core)->Close())) {
    return false;
  }
  core->reset();
  return Verify(arguments, signer, "audit.verify_leaves_per_s_core");
}

// As large as a leaf may be, nearly.
LeafDraft LargeDraft() {
  LeafDraft draft;
  draft.type = LeafType::kAdminAction;
  draft.tenant = TenantId("acme");
  for (int i = 0; i < 30; ++i) {
    draft.detail[absl::StrFormat("fact%02d", i)] = std::string(kLeafTextBytesMax, 'x');
  }
  return draft;
}

void CommitLargeGroup(LogCore& core) {
  std::vector<LogCore::Entry> entries;
  for (size_t i = 0; i < kGroupLeaves; ++i) {
    entries.push_back({LargeDraft(), [](const StatusOr<AuditReceipt>&) {}});
  }
  core.Commit(std::move(entries));
}

uint64_t SegmentBytes(const std::string& state_folder) {
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(state_folder)) {
    bytes += entry.path().filename().string().starts_with("wal.") ? entry.file_size() : 0;
  }
  return bytes;
}

// What no recovery can be faster than: hashing the leaves once on one core, and writing their bytes
// to the device once, in bundles.
void PrintFloors(const Arguments& arguments, const std::string& key, uint64_t leaf_bytes) {
  const std::string leaf(leaf_bytes, 'x');
  const TimePoint start = SystemClock().Now();
  for (size_t i = 0; i < kUnpublishedMax; ++i) {
    (void)LeafHash(leaf);
  }
  const double hashing = Seconds(SystemClock().Now() - start);
  FileBatch batch(SystemFiles(), arguments.folder);
  const TimePoint writing_start = SystemClock().Now();
  for (size_t i = 0; i < kUnpublishedMax / kGroupLeaves; ++i) {
    (void)batch.Put("floor" + std::to_string(i), std::string(leaf_bytes * kGroupLeaves, 'x'));
  }
  const bool written = batch.Commit().ok();
  const double writing = Seconds(SystemClock().Now() - writing_start);
  std::printf(
      "RESULT %s_sha256_floor_s%s %.3f s\n", key.c_str(), arguments.suffix.c_str(), hashing);
  if (written) {
    std::printf(
        "RESULT %s_disk_floor_s%s %.3f s\n", key.c_str(), arguments.suffix.c_str(), writing);
  }
}

// The process dies with everything in the write-ahead log; the next one is timed.
bool TimeRecovery(const Arguments& arguments,
                  const NoteSigner& signer,
                  const std::string& key,
                  const std::function<bool(LogCore& core, const std::string& state)>& fill) {
  std::filesystem::remove_all(arguments.folder);
  std::filesystem::create_directories(arguments.folder);
  AuditLogOptions options = OptionsOf(arguments, signer);
  options.reserve_bytes = 0;
  auto core = LogCore::Open(options);
  if (!Succeeded(core.status())) {
    return false;
  }
  const std::string state =
      arguments.folder + "/state/" + (*core)->origin().substr(std::string_view(kName).size() + 1);
  while (fill(**core, state)) {
  }
  core->reset();
  const uint64_t wal_bytes = SegmentBytes(state);
  RecoverySummary summary;
  const double cpu_start = CpuSeconds(RUSAGE_SELF);
  const TimePoint start = SystemClock().Now();
  core = LogCore::Open(options, &summary);
  const double cpu = CpuSeconds(RUSAGE_SELF) - cpu_start;
  const double elapsed = Seconds(SystemClock().Now() - start);
  if (!Succeeded(core.status())) {
    return false;
  }
  std::printf("WORKLOAD recovery of %llu leaves in a write-ahead log of %llu MiB, %s\n",
              static_cast<unsigned long long>(summary.frames),
              static_cast<unsigned long long>(wal_bytes >> 20),
              arguments.folder.c_str());
  std::printf("RESULT %s_s%s %.3f s\n", key.c_str(), arguments.suffix.c_str(), elapsed);
  std::printf("RESULT %s_cpu_s%s %.3f s\n", key.c_str(), arguments.suffix.c_str(), cpu);
  if (arguments.wal_mib == 0) {
    PrintFloors(arguments, key, wal_bytes / kUnpublishedMax);
  }
  return true;
}

bool MeasureRecovery(const Arguments& arguments, const NoteSigner& signer) {
  const auto usual_leaves = [](LogCore& core) { Requests(core).CommitGroup(); };
  if (arguments.wal_mib > 0) {
    return TimeRecovery(arguments,
                        signer,
                        "audit.recovery_of_wal_mib",
                        [&](LogCore& core, const std::string& state) {
                          usual_leaves(core);
                          return SegmentBytes(state) >> 20 < arguments.wal_mib;
                        });
  }
  const auto until_full = [](const auto& commit) {
    return [commit](LogCore& core, const std::string&) {
      commit(core);
      return core.num_unpublished() < kUnpublishedMax;
    };
  };
  return TimeRecovery(arguments, signer, "audit.recovery", until_full(usual_leaves)) &&
         TimeRecovery(arguments, signer, "audit.recovery_1gib", until_full(CommitLargeGroup));
}

int Run(const Arguments& arguments) {
  const auto signer = NoteSigner::Generate(kName);
  using Phase = bool (*)(const Arguments&, const NoteSigner&);
  constexpr std::pair<std::string_view, Phase> kPhases[] = {
      {"append", MeasureAppend}, {"verify", MeasureVerify}, {"recovery", MeasureRecovery}};
  for (const auto& [name, phase] : kPhases) {
    if (std::find(arguments.only.begin(), arguments.only.end(), name) == arguments.only.end()) {
      continue;
    }
    std::filesystem::remove_all(arguments.folder);
    std::filesystem::create_directories(arguments.folder);
    const bool measured = phase(arguments, *signer);
    std::filesystem::remove_all(arguments.folder);
    if (!measured) {
      return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  inferd::Arguments arguments;
  CLI::App app{"What the audit log costs."};
  app.add_option("--folder", arguments.folder, "made, filled and removed; its disk is measured");
  app.add_option("--seconds", arguments.seconds, "of appending");
  app.add_option("--in-flight", arguments.in_flight, "appenders");
  app.add_option("--requests", arguments.requests, "to verify, two leaves each");
  app.add_option("--wal-mib", arguments.wal_mib, "to recover, of usual leaves");
  app.add_option("--suffix", arguments.suffix, "of the figures' keys: _tmpfs");
  app.add_option("--only", arguments.only, "append, verify, recovery")->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  return inferd::Run(arguments);
}
