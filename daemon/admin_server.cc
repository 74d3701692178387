#include "daemon/admin_server.h"

#include <grpcpp/impl/service_type.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/listen_address.h"

namespace inferd {
namespace {

constexpr int kBacklog = 16;
constexpr auto kCloseGrace = std::chrono::milliseconds(500);

StatusOr<int> Listen(const std::string& path) {
  RETURN_IF_ERROR(CheckFree(ListenAddress{.is_unix = true, .host = "", .port = 0, .path = path}));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "%s: a socket's path has at most %d bytes; set listeners.admin.address",
                  path,
                  sizeof(address.sun_path) - 1);
  }
  std::copy(path.begin(), path.end(), address.sun_path);
  unlink(path.c_str());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(fd >= 0);
  // Under any usual umask others cannot write to it, hence not connect, before the chmod either.
  const bool bound = bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  if (!bound || chmod(path.c_str(), 0660) != 0 || listen(fd, kBacklog) != 0) {
    const int error = errno;
    close(fd);
    return ErrorF(StatusCode::kUnavailable, "%s: cannot listen: %s", path, std::strerror(error));
  }
  return fd;
}

}  // namespace

struct AdminServer::PerUid {
  std::vector<std::unique_ptr<grpc::Service>> services;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor;
  std::unique_ptr<grpc::Server> server;
};

StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(const std::string& path,
                                                          MakeServices make_services) {
  ASSIGN_OR_RETURN(const int listener, Listen(path));
  const int stop = eventfd(0, EFD_CLOEXEC);
  CHECK(stop >= 0);
  return std::unique_ptr<AdminServer>(
      new AdminServer(path, std::move(make_services), listener, stop));
}

AdminServer::AdminServer(std::string path, MakeServices make_services, int listener, int stop)
    : path_(std::move(path)),
      make_services_(std::move(make_services)),
      listener_(listener),
      stop_(stop),
      thread_([this] { Accept(); }) {}

AdminServer::~AdminServer() {
  const uint64_t one = 1;
  CHECK(write(stop_, &one, sizeof(one)) == sizeof(one));
  thread_.join();
  close(listener_);
  close(stop_);
  unlink(path_.c_str());
  for (auto& [uid, per_uid] : servers_) {
    per_uid->server->Shutdown(SystemClock().WallNow() + kCloseGrace);
    per_uid->server->Wait();
  }
}

void AdminServer::Accept() {
  for (;;) {
    pollfd fds[2] = {{.fd = listener_, .events = POLLIN, .revents = 0},
                     {.fd = stop_, .events = POLLIN, .revents = 0}};
    poll(fds, 2, -1);
    if (fds[1].revents != 0) {
      return;
    }
    const int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (connection >= 0) {
      HandOver(connection);
    }
  }
}

void AdminServer::HandOver(int connection) {
  ucred peer = {};
  socklen_t size = sizeof(peer);
  PerUid* const per_uid = getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0
                              ? ServerFor(peer.uid)
                              : nullptr;
  if (per_uid == nullptr) {
    close(connection);
    return;
  }
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
  parameters.listener_fd = -1;
  parameters.fd = connection;
  per_uid->acceptor->HandleNewConnection(&parameters);
}

AdminServer::PerUid* AdminServer::ServerFor(uint32_t uid) {
  const auto found = servers_.find(uid);
  if (found != servers_.end()) {
    return found->second.get();
  }
  if (servers_.size() >= kAdminUidsMax) {
    Log(LogLevel::kWarning, "too many administrators", {{"uid", std::to_string(uid)}});
    return nullptr;
  }
  auto per_uid = std::make_unique<PerUid>();
  per_uid->services = make_services_(uid);
  grpc::ServerBuilder builder;
  for (const auto& service : per_uid->services) {
    builder.RegisterService(service.get());
  }
  per_uid->acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  per_uid->server = builder.BuildAndStart();
  if (per_uid->server == nullptr) {
    Log(LogLevel::kError, "no admin server", {{"uid", std::to_string(uid)}});
    return nullptr;
  }
  return servers_.emplace(uid, std::move(per_uid)).first->second.get();
}

}  // namespace inferd
