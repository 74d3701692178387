// Credentials of strangers: API keys, certificates, revocation lists, addresses. An error, or
// exactly what was written; and no text opens a door that it is not the key of.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "governance/identity/api_key.h"
#include "governance/identity/network.h"
#include "governance/identity/peer_certificate.h"
#include "governance/identity/revocations.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inferd;  // NOLINT(google-build-using-namespace)
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static const SecretKey pepper = SecretKey::Random();
  static const ApiKeyRing ring = [] {
    ApiKey key;
    key.environment = "live";
    key.expires = WallTime::max();
    (void)MakeApiKey(pepper, key);
    return ApiKeyRing({key}, pepper);
  }();
  CHECK(!ring.Verify(text, WallTime(), "").ok());
  (void)IsApiKeyText(text);
  if (const auto network = Network::Parse(text); network.ok()) {
    const std::string address = network->text().substr(0, network->text().find('/'));
    CHECK(network->Contains(address));
  }
  if (const auto certificate = ReadPeerCertificate(text); certificate.ok()) {
    CHECK(!certificate->name.empty() && certificate->name.find('\0') == std::string::npos);
    CHECK((certificate->name_kind == PeerCertificate::NameKind::kSpiffe) ==
          IsSpiffeId(certificate->name));
    CHECK(!Revocations().Has(*certificate));
  }
  Revocations revocations;
  (void)revocations.AddList(text);
  (void)revocations.AddCrl(text);
  (void)IsSpiffeId(text);
  return 0;
}
