#include "daemon/tls_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <sys/stat.h>

namespace inferd {
namespace {

int64_t Nanoseconds(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

TlsCredentials::TlsCredentials(TlsPaths paths, const Clock& clock, bool require_client_certificate)
    : paths_(std::move(paths)),
      clock_(clock),
      require_client_certificate_(require_client_certificate) {}

StatusOr<std::shared_ptr<TlsCredentials>> TlsCredentials::Start(TlsPaths paths,
                                                                const Clock& clock,
                                                                bool require_client_certificate) {
  std::shared_ptr<TlsCredentials> credentials(
      new TlsCredentials(std::move(paths), clock, require_client_certificate));
  RETURN_IF_ERROR(credentials->Reload());
  return credentials;
}

StatusOr<TlsCredentials::Next> TlsCredentials::ReadNext() const {
  Next next;
  // Looked at before they are read: a change in between is seen the next time.
  next.stamps = LookAtFiles();
  ASSIGN_OR_RETURN(next.material, ReadTlsMaterial(paths_, clock_.WallNow()));
  MutexLock lock(mutex_);
  const auto tell_if = [&](bool changed, const char* what) {
    if (changed) {
      next.diff.push_back(std::string("~ tls: ") + what);
    }
  };
  tell_if(next.material.certificate != material_.certificate, "certificate");
  tell_if(next.material.key != material_.key, "key");
  tell_if(next.material.client_ca != material_.client_ca, "authorities of callers");
  return next;
}

void TlsCredentials::Use(Next next) {
  MutexLock lock(mutex_);
  stamps_ = next.stamps;
  material_ = std::move(next.material);
  taken_ = false;
}

Status TlsCredentials::Reload() {
  ASSIGN_OR_RETURN(Next next, ReadNext());
  Use(std::move(next));
  return OkStatus();
}

StatusOr<bool> TlsCredentials::ReloadIfChanged() {
  const Stamps stamps = LookAtFiles();
  {
    MutexLock lock(mutex_);
    if (stamps == stamps_) {
      return false;
    }
    stamps_ = stamps;  // said once of what is of no use
  }
  RETURN_IF_ERROR(Reload());
  return true;
}

TlsCredentials::Stamps TlsCredentials::LookAtFiles() const {
  Stamps stamps;
  const std::string* const paths[] = {&paths_.certificate, &paths_.key, &paths_.client_ca};
  for (size_t i = 0; i < stamps.size(); ++i) {
    struct stat info = {};
    if (stat(paths[i]->c_str(), &info) == 0) {
      stamps[i] = {static_cast<int64_t>(info.st_ino),
                   info.st_size,
                   Nanoseconds(info.st_mtim),
                   Nanoseconds(info.st_ctim)};
    }
  }
  return stamps;
}

// nullptr if gRPC has the latest already.
grpc_ssl_server_certificate_config* TlsCredentials::Take() {
  MutexLock lock(mutex_);
  if (taken_) {
    return nullptr;
  }
  taken_ = true;
  const grpc_ssl_pem_key_cert_pair pair = {.private_key = material_.key.c_str(),
                                           .cert_chain = material_.certificate.c_str()};
  return grpc_ssl_server_certificate_config_create(material_.client_ca.c_str(), &pair, 1);
}

int TlsCredentials::AddPortToServer(const std::string& address, grpc_server* server) {
  const auto fetch = [](void* self, grpc_ssl_server_certificate_config** config) {
    *config = static_cast<TlsCredentials*>(self)->Take();
    return *config == nullptr ? GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED
                              : GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  };
  grpc_server_credentials* const credentials = grpc_ssl_server_credentials_create_with_options(
      grpc_ssl_server_credentials_create_options_using_config_fetcher(
          require_client_certificate_ ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                      : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY,
          fetch,
          this));
  const int port = grpc_server_add_http2_port(server, address.c_str(), credentials);
  grpc_server_credentials_release(credentials);
  return port;
}

}  // namespace inferd
