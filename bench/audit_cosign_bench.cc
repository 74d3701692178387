// audit_cosign_bench [--folder DIR] [--seconds S]: how long after its append a leaf stands under a
// checkpoint that a witness cosigned. A thousand leaves a second, the log's own threads, a witness
// over HTTP on loopback, the intervals of the daemon.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/thread_annotations.h"
#include "daemon/witness/http_post.h"
#include "daemon/witness/witness_client.h"
#include "daemon/witness/witness_server.h"
#include "governance/audit/audit_writer.h"
#include "governance/verify/checkpoint.h"

namespace inferd {
namespace {

constexpr char kName[] = "bench.example/inferd-audit/n1";
constexpr Duration kLeafInterval = std::chrono::milliseconds(1);

struct Arguments {
  std::string folder = "build/audit_cosign_bench";
  double seconds = 20;
};

// When each leaf was appended and, once it is, how long that was before it was cosigned.
class Waits {
 public:
  void Appended(uint64_t index, TimePoint at) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    pending_.emplace_back(index, at);
  }
  void Cosigned(uint64_t size, TimePoint now) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    const auto covered = std::partition(
        pending_.begin(), pending_.end(), [size](const auto& leaf) { return leaf.first >= size; });
    for (auto leaf = covered; leaf != pending_.end(); ++leaf) {
      seconds_.push_back(std::chrono::duration<double>(now - leaf->second).count());
    }
    pending_.erase(covered, pending_.end());
  }
  size_t num_pending() const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return pending_.size();
  }
  std::vector<double> Sorted() const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    std::vector<double> seconds = seconds_;
    std::sort(seconds.begin(), seconds.end());
    return seconds;
  }

 private:
  mutable Mutex mutex_;
  std::vector<std::pair<uint64_t, TimePoint>> pending_ GUARDED_BY(mutex_);
  std::vector<double> seconds_ GUARDED_BY(mutex_);
};

AuditLogOptions OptionsOf(const Arguments& arguments, const NoteSigner& signer) {
  AuditLogOptions options;
  options.folder = arguments.folder + "/audit";
  options.name = kName;
  options.node = "n1";
  options.signer = &signer;
  options.reserve_bytes = 0;
  return options;
}

void AppendFor(AuditLog& log, double seconds, Waits& waits) {
  const Clock& clock = SystemClock();
  const TimePoint end =
      clock.Now() + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  LeafDraft draft;
  draft.type = LeafType::kAdminAction;
  draft.tenant = TenantId("acme");
  for (TimePoint now = clock.Now(); now < end; now = clock.Now()) {
    log.Append(draft, [&waits, now](const StatusOr<AuditReceipt>& receipt) {
      if (receipt.ok()) {
        waits.Appended(receipt->index, now);
      }
    });
    std::this_thread::sleep_until(now + kLeafInterval);
  }
}

Status Run(const Arguments& arguments) {
  std::filesystem::remove_all(arguments.folder);
  std::filesystem::create_directories(arguments.folder + "/witness");
  const auto signer = NoteSigner::Generate(kName);
  const auto witness_key =
      NoteSigner::Generate("witness.bench.example", NoteKeyType::kEd25519Cosignature);
  Witness witness({.folder = arguments.folder + "/witness",
                   .signer = &*witness_key,
                   .logs = {signer->verifier()}});
  ASSIGN_OR_RETURN(const auto server, WitnessServer::Start("127.0.0.1:0", witness, SystemClock()));
  ASSIGN_OR_RETURN(
      TrustPolicy policy,
      TrustPolicy::Parse(absl::StrFormat("log %s\nwitness w %s http://127.0.0.1:%d\nquorum w\n",
                                         signer->verifier().VKey(),
                                         witness_key->verifier().VKey(),
                                         server->port())));
  ASSIGN_OR_RETURN(const auto log, AuditWriter::Open(OptionsOf(arguments, *signer)));
  Waits waits;
  WitnessClient client(
      {.log_folder = arguments.folder + "/audit/log",
       .policy = policy,
       .post = [](const std::string& url,
                  const std::string& body) { return PostHttp(url, body, {kWitnessTimeout}); },
       .publish =
           [&](const std::string& note) {
             (void)log->PublishCosigned(note);
             if (const auto cosigned = policy.Open(note); cosigned.ok()) {
               waits.Cosigned(cosigned->checkpoint.size, SystemClock().Now());
             }
           },
       .on_rollback = {}});
  client.Start();
  AppendFor(*log, arguments.seconds, waits);
  RETURN_IF_ERROR(log->Flush());
  const TimePoint patience = SystemClock().Now() + std::chrono::seconds(60);
  while (waits.num_pending() > 0 && SystemClock().Now() < patience) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const std::vector<double> seconds = waits.Sorted();
  if (seconds.empty() || waits.num_pending() > 0) {
    return ErrorF(StatusCode::kUnavailable, "%d leaves were not cosigned", waits.num_pending());
  }
  std::printf("WORKLOAD %zu leaves, one each millisecond; a witness on loopback\n", seconds.size());
  std::printf("RESULT audit.cosign_p50_s %.3f s\n", seconds[seconds.size() / 2]);
  std::printf("RESULT audit.cosign_s %.3f s\n", seconds.back());
  return OkStatus();
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  inferd::Arguments arguments;
  CLI::App app{"How long until a leaf is cosigned."};
  app.add_option("--folder", arguments.folder, "made, filled and removed");
  app.add_option("--seconds", arguments.seconds, "of appending");
  CLI11_PARSE(app, argc, argv);
  const inferd::Status status = inferd::Run(arguments);
  std::filesystem::remove_all(arguments.folder);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(inferd::Message(status)).c_str());
  }
  return status.ok() ? 0 : 1;
}
