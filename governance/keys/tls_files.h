// The files of a TLS listener, read and checked before anything uses them: a certificate that does
// not fit its key would make every later handshake fail.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/status.h"

namespace inferd {

// PEM files. `certificate` may hold a chain, the listener's own certificate first.
struct TlsPaths {
  std::string certificate;
  std::string key;        // a secret: ReadSecretFile says who may read it
  std::string client_ca;  // one or more authorities that callers' certificates come from
};

// What was read. The key's text is overwritten when it goes.
struct TlsMaterial {
  TlsMaterial() = default;
  TlsMaterial(TlsMaterial&&) = default;
  TlsMaterial& operator=(TlsMaterial&&) = default;
  ~TlsMaterial();

  std::string certificate, key, client_ca;  // PEM
  WallTime not_after;                       // when the own certificate ends
};

// kFailedPrecondition names the file and what is wrong with it: it is not PEM, the certificate is
// an authority's, is not valid at `now` or has another key, or what should be an authority is none.
StatusOr<TlsMaterial> ReadTlsMaterial(const TlsPaths& paths, WallTime now);

}  // namespace inferd
