// inferd_audit_appender FOLDER KEYFILE SEED: appends leaves from several threads until it is
// killed, and tells on stdout of each that is durable: "<index> <hash> <origin>\n". A request's end
// follows its beginning.
#include <unistd.h>

#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "base/ulid.h"
#include "governance/audit/audit_writer.h"
#include "governance/verify/base64.h"

namespace inferd {
namespace {

constexpr int kThreads = 3;

// Tells of a durable leaf; one write, so that a line is whole or not there.
void Tell(const AuditReceipt& receipt) {
  const std::string line =
      absl::StrFormat("%d %s %s\n", receipt.index, receipt.leaf_hash.Hex(), receipt.origin);
  if (write(STDOUT_FILENO, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    _exit(3);
  }
}

void AppendForever(AuditLog& log, uint64_t seed) {
  SplitMix64 random(seed);
  while (true) {
    LeafDraft admitted;
    admitted.type = LeafType::kInferenceAdmitted;
    admitted.tenant = TenantId("t" + std::to_string(random.Below(4)));
    admitted.rid = RequestId(NewUlid(SystemClock().WallNow()));
    admitted.src.assign(random.Below(500), 'x');
    const auto begin = log.AppendAndWait(admitted);
    if (!begin.ok()) {
      _exit(4);
    }
    Tell(*begin);
    if (random.Below(4) == 0) {
      continue;  // left open
    }
    LeafDraft completed;
    completed.type = LeafType::kInferenceCompleted;
    completed.tenant = admitted.tenant;
    completed.rid = admitted.rid;
    completed.admitted = *begin;
    const auto end = log.AppendAndWait(completed);
    if (!end.ok()) {
      _exit(4);
    }
    Tell(*end);
  }
}

int Main(int argc, char** argv) {
  const auto seed = ParseDecimal(argc == 4 ? argv[3] : "");
  const auto key = ReadFile(argc == 4 ? argv[2] : "", 4096);
  const auto signer = key.ok() ? NoteSigner::Parse(*key) : StatusOr<NoteSigner>(key.status());
  if (!seed.ok() || !signer.ok()) {
    std::fprintf(stderr, "usage: inferd_audit_appender FOLDER KEYFILE SEED\n");
    return 2;
  }
  AuditLogOptions options;
  options.folder = argv[1];
  options.name = signer->verifier().name();
  options.node = "n1";
  options.boot = ReadBootId();
  options.signer = &*signer;
  options.segment_bytes = 128 << 10;
  options.checkpoint_interval = std::chrono::milliseconds(5);
  options.reserve_bytes = 0;
  auto log = AuditWriter::Open(std::move(options));
  if (!log.ok()) {
    std::fprintf(stderr, "%s\n", std::string(Message(log.status())).c_str());
    return 1;
  }
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&log, s = *seed * kThreads + i] { AppendForever(**log, s); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  return 0;
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) { return inferd::Main(argc, argv); }
