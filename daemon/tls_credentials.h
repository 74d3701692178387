// TlsCredentials: the data plane's certificate, key and authorities, exchanged while it serves.
//
// gRPC asks for them at each handshake; connections that stand keep theirs. What cannot be used is
// refused when it is read, and the last that could be stays.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "governance/keys/tls_files.h"

struct grpc_ssl_server_certificate_config;

namespace inferd {

// Thread-safe. A caller with a certificate of another authority gets no connection, nor does one
// without a certificate unless that is allowed.
class TlsCredentials final : public grpc::ServerCredentials {
 public:
  // Reads the files; the errors of ReadTlsMaterial. `clock` outlives the object.
  static StatusOr<std::shared_ptr<TlsCredentials>> Start(TlsPaths paths,
                                                         const Clock& clock,
                                                         bool require_client_certificate = true);

  // What a file was when it was read: a change of any of them means a new content.
  struct Stamp {
    int64_t inode = 0, size = 0, modified_ns = 0, changed_ns = 0;
    bool operator==(const Stamp&) const = default;
  };
  using Stamps = std::array<Stamp, 3>;

  // The files as they are now, checked and not in use yet.
  struct Next {
    TlsMaterial material;
    Stamps stamps;
    std::vector<std::string> diff;  // against what is in use: "~ tls: certificate"
  };
  StatusOr<Next> ReadNext() const EXCLUDES(mutex_);
  void Use(Next next) EXCLUDES(mutex_);

  // Both. On an error what is in use stays.
  Status Reload() EXCLUDES(mutex_);
  // The same if one of them changed since it was last read; call it about once a second. False if
  // none did.
  StatusOr<bool> ReloadIfChanged() EXCLUDES(mutex_);

 private:
  TlsCredentials(TlsPaths paths, const Clock& clock, bool require_client_certificate);
  Stamps LookAtFiles() const;
  grpc_ssl_server_certificate_config* Take() EXCLUDES(mutex_);

  // Of grpc::ServerCredentials.
  int AddPortToServer(const std::string& address, grpc_server* server) override;
  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

  const TlsPaths paths_;
  const Clock& clock_;
  const bool require_client_certificate_;
  mutable Mutex mutex_;
  TlsMaterial material_ GUARDED_BY(mutex_);
  Stamps stamps_ GUARDED_BY(mutex_);
  bool taken_ GUARDED_BY(mutex_) = false;  // gRPC has this material
};

}  // namespace inferd
