// AdminServer: the admin plane on a Unix socket. Who connects is known by the uid that the kernel
// tells of the peer (SO_PEERCRED); gRPC does not pass it on to calls, so every uid has a gRPC
// server of its own, which knows whom it serves.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"

namespace grpc {
class Server;
class Service;
}  // namespace grpc

namespace inferd {

inline constexpr size_t kAdminUidsMax = 64;

// The socket has mode 0660: its folder and group say who may connect.
class AdminServer {
 public:
  // The services of one peer, made when it first connects.
  using MakeServices = std::function<std::vector<std::unique_ptr<grpc::Service>>(uint32_t uid)>;

  // Binds `path`, taking the place of a socket that nobody listens on. What the services use
  // outlives it.
  static StatusOr<std::unique_ptr<AdminServer>> Start(const std::string& path,
                                                      MakeServices make_services);
  ~AdminServer();  // ends calls in flight and removes the socket

  const std::string& path() const { return path_; }

 private:
  struct PerUid;
  AdminServer(std::string path, MakeServices make_services, int listener, int stop);
  void Accept();
  void HandOver(int connection);
  PerUid* ServerFor(uint32_t uid);

  const std::string path_;
  const MakeServices make_services_;
  const int listener_;
  const int stop_;  // an eventfd: readable once it is time to stop
  std::map<uint32_t, std::unique_ptr<PerUid>> servers_;  // the accepting thread's
  std::thread thread_;
};

}  // namespace inferd
