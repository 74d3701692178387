// GrpcServer: the data plane's listener, its health and its shutdown.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "daemon/listen_address.h"

namespace grpc {
class Server;
class ServerCredentials;
class Service;
}  // namespace grpc

namespace inferd {

// Thread-safe after Start.
class GrpcServer {
 public:
  struct Options {
    ListenAddress address;
    std::shared_ptr<grpc::ServerCredentials> credentials;  // nullptr: no TLS
    bool reflection = true;
    int64_t message_bytes_max = int64_t{16} << 20;
    int64_t connection_streams_max = 256;
  };
  // Binds and serves. kUnavailable, naming the address and why, if it cannot listen there.
  static StatusOr<std::unique_ptr<GrpcServer>> Start(
      const Options& options, std::vector<std::unique_ptr<grpc::Service>> services);
  ~GrpcServer();

  // With the port that the system picked: "127.0.0.1:41873".
  const std::string& address() const { return address_; }
  // Of "" (the process), a service, or "model:<name>". Unset names are unknown to health.
  void SetHealth(const std::string& name, bool serving);
  // Closes the listener, lets calls in flight end until `timeout`, then cancels them. Blocks.
  void Shutdown(Duration timeout);

 private:
  GrpcServer();

  std::string address_;
  std::shared_ptr<grpc::ServerCredentials> credentials_;  // outlive the server
  std::vector<std::unique_ptr<grpc::Service>> services_;  // outlive the server
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace inferd
