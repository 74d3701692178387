// inferd_log_maker FOLDER COUNT: a log of so many leaves, published twice, for other programs to
// judge. Prints the origin and the public key, a line each.
#include <cstdio>
#include <string>

#include "governance/audit/audit_writer.h"
#include "governance/verify/base64.h"

namespace inferd {
namespace {

constexpr char kName[] = "example.com/inferd-audit/n1";

int Main(int argc, char** argv) {
  const auto count = ParseDecimal(argc == 3 ? argv[2] : "");
  const auto signer = NoteSigner::Generate(kName);
  if (!count.ok() || !signer.ok()) {
    std::fprintf(stderr, "usage: inferd_log_maker FOLDER COUNT\n");
    return 2;
  }
  AuditLogOptions options;
  options.folder = argv[1];
  options.name = kName;
  options.node = "n1";
  options.boot = ReadBootId();
  options.signer = &*signer;
  options.reserve_bytes = 0;
  auto log = AuditWriter::Open(std::move(options));
  if (!log.ok()) {
    std::fprintf(stderr, "%s\n", std::string(Message(log.status())).c_str());
    return 1;
  }
  const std::string origin = (*log)->origin();
  // The first leaf is the genesis, the last says that the log is closed.
  for (uint64_t i = 2; i < *count; ++i) {
    LeafDraft draft;
    draft.type = LeafType::kAdminAction;
    draft.tenant = TenantId("t" + std::to_string(i % 3));
    (*log)->Append(std::move(draft), [](const StatusOr<AuditReceipt>&) {});
    if (i % 300 == 0 && !(*log)->Flush().ok()) {
      return 1;
    }
  }
  if (!(*log)->Close().ok()) {
    return 1;
  }
  std::printf("%s\n%s\n", origin.c_str(), signer->verifier().VKey().c_str());
  return 0;
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) { return inferd::Main(argc, argv); }
