// Evidence bundles of strangers: an error, or a tar that is written again byte for byte. So that
// the fuzzer gets behind the signature, the bundle is then signed anew over whatever files it has.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/sha256.h"
#include "governance/verify/evidence_manifest.h"
#include "tests/support/example_keys.h"

namespace {

using namespace inferd;  // NOLINT(google-build-using-namespace)

std::string Tar(const std::vector<TarMember>& members) {
  std::string tar;
  TarWriter writer([&tar](std::string_view bytes) {
    tar += bytes;
    return OkStatus();
  });
  for (const TarMember& member : members) {
    CHECK(writer.Add(member.name, member.content).ok());
  }
  CHECK(writer.Finish().ok());
  return tar;
}

std::string Resigned(std::vector<TarMember> members, const NoteSigner& exporter) {
  const auto envelope = ParseDsse(members.back().content);
  auto manifest = ParseManifest(envelope.ok() ? envelope->payload : members.back().content);
  if (!manifest.ok()) {
    return "";
  }
  members.pop_back();
  manifest->exporter = exporter.verifier().VKey();
  manifest->files.clear();
  for (const TarMember& member : members) {
    if (member.name == kEvidenceManifest) {
      return "";
    }
    manifest->files.push_back(
        {.name = std::string(member.name), .sha256 = Sha256Of(member.content)});
  }
  const std::string signature = SignDsse(kEvidencePayloadType, EncodeManifest(*manifest), exporter);
  members.push_back({.name = kEvidenceManifest, .content = signature});
  return Tar(members);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const NoteSigner kExporter = *NoteSigner::Parse(kExampleExporterKey);
  static const TrustPolicy kPolicy =
      TrustPolicy::OfLog(NoteSigner::Parse(kExampleLogKey)->verifier());
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)VerifyEvidence(bytes, kPolicy, nullptr);
  const auto members = ReadTar(bytes);
  if (members.ok()) {
    CHECK(Tar(*members) == bytes);
    if (!members->empty()) {
      (void)VerifyEvidence(Resigned(*members, kExporter), kPolicy, nullptr);
    }
  }
  return 0;
}
