// audit_bench [--folder DIR] [--seconds S] [--in-flight N]: what the audit log costs.
//   append   N appenders, each waiting for its receipt before its next leaf of about 1 KiB
//   verify   the whole verification of what they wrote, on one core
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "governance/audit/audit_writer.h"
#include "governance/verify/trust_policy.h"
#include "governance/verify/verifier.h"

namespace inferd {
namespace {

constexpr char kName[] = "bench.example/inferd-audit/n1";

struct Arguments {
  std::string folder = "build/audit_bench";
  double seconds = 10;
  size_t in_flight = 128;
  std::string suffix;
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

double CpuSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

int Run(const Arguments& arguments) {
  std::filesystem::remove_all(arguments.folder);
  std::filesystem::create_directories(arguments.folder);
  const auto signer = NoteSigner::Generate(kName);
  AuditLogOptions options;
  options.folder = arguments.folder;
  options.name = kName;
  options.node = "n1";
  options.boot = ReadBootId();
  options.signer = &*signer;
  auto log = AuditWriter::Open(std::move(options));
  if (!log.ok()) {
    std::fprintf(stderr, "%s\n", std::string(Message(log.status())).c_str());
    return 1;
  }
  Appenders appenders(arguments.in_flight);
  const TimePoint start = SystemClock().Now();
  AppendFor(**log, appenders, arguments.seconds);
  const double elapsed = Seconds(SystemClock().Now() - start);
  if (const Status status = (*log)->Close(); !status.ok() || appenders.failed > 0) {
    std::fprintf(stderr, "%s\n", std::string(Message(status)).c_str());
    return 1;
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

  const double cpu_start = CpuSeconds();
  const auto report = VerifyLog(SystemFiles(),
                                arguments.folder + "/log",
                                TrustPolicy::OfLog(signer->verifier()),
                                VerifyOptions());
  const double cpu = CpuSeconds() - cpu_start;
  if (!report.ok() || report->num_problems > 0) {
    std::fprintf(stderr, "the log does not verify\n");
    return 1;
  }
  std::printf("RESULT audit.verify_leaves_per_s_core%s %.0f leaves/s\n",
              suffix.c_str(),
              static_cast<double>(report->num_leaves) / cpu);
  std::filesystem::remove_all(arguments.folder);
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
  app.add_option("--suffix", arguments.suffix, "of the figures' keys: _tmpfs");
  CLI11_PARSE(app, argc, argv);
  return inferd::Run(arguments);
}
