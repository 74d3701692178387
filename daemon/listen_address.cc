#include "daemon/listen_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "daemon/config_values.h"

namespace inferd {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";

Status Malformed(std::string_view text) {
  return ErrorF(
      StatusCode::kInvalidArgument,
      "\"%s\" is not an address; write 127.0.0.1:PORT, [::1]:PORT, another address of this "
      "host with a port, or unix:PATH",
      text);
}

StatusOr<ListenAddress> ParseUnix(std::string_view text) {
  ListenAddress address{.is_unix = true, .host = {}, .port = 0, .path = {}};
  address.path = text.substr(kUnixPrefix.size());
  if (address.path.empty() || address.path.size() >= sizeof(sockaddr_un::sun_path)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "\"%s\": the path of a Unix socket has 1 to %d bytes",
                  text,
                  sizeof(sockaddr_un::sun_path) - 1);
  }
  return address;
}

// The address as the sockets' functions take it.
struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t size = 0;
};

SocketAddress ToSocketAddress(const ListenAddress& address) {
  SocketAddress result;
  sockaddr_in in = {};
  if (inet_pton(AF_INET, address.host.c_str(), &in.sin_addr) == 1) {
    in.sin_family = AF_INET;
    in.sin_port = htons(static_cast<uint16_t>(address.port));
    std::memcpy(&result.storage, &in, result.size = sizeof(in));
    return result;
  }
  sockaddr_in6 in6 = {};
  inet_pton(AF_INET6, address.host.c_str(), &in6.sin6_addr);
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(static_cast<uint16_t>(address.port));
  std::memcpy(&result.storage, &in6, result.size = sizeof(in6));
  return result;
}

// A socket bound to the address, or errno.
int TryTcp(const ListenAddress& address) {
  const SocketAddress socket_address = ToSocketAddress(address);
  const int fd = socket(socket_address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return errno;
  }
  // As gRPC's own listener does: connections of an earlier process in TIME_WAIT do not matter.
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const auto* generic =
      static_cast<const sockaddr*>(static_cast<const void*>(&socket_address.storage));
  const int error = bind(fd, generic, socket_address.size) == 0 && listen(fd, 1) == 0 ? 0 : errno;
  close(fd);
  return error;
}

// EADDRINUSE if a process answers on the socket. A file that nobody listens on is left over from
// an earlier process; gRPC replaces it.
int TryUnix(const ListenAddress& address) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return errno;
  }
  sockaddr_un un = {};
  un.sun_family = AF_UNIX;
  std::memcpy(un.sun_path, address.path.c_str(), address.path.size() + 1);
  const auto* generic = static_cast<const sockaddr*>(static_cast<const void*>(&un));
  const bool answered = connect(fd, generic, sizeof(un)) == 0;
  close(fd);
  return answered ? EADDRINUSE : 0;
}

}  // namespace

bool ListenAddress::IsLocal() const {
  in_addr v4 = {};
  return is_unix || host == "::1" ||
         (inet_pton(AF_INET, host.c_str(), &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127);
}

std::string ListenAddress::ForGrpc() const {
  if (is_unix) {
    return "unix:" + path;
  }
  const bool v6 = host.find(':') != std::string::npos;
  return v6 ? absl::StrFormat("[%s]:%d", host, port) : absl::StrFormat("%s:%d", host, port);
}

StatusOr<ListenAddress> ParseListenAddress(std::string_view text) {
  if (text.substr(0, kUnixPrefix.size()) == kUnixPrefix) {
    return ParseUnix(text);
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return Malformed(text);
  }
  std::string_view host = text.substr(0, colon);
  const auto port = ParseInteger(text.substr(colon + 1));
  if (!port.ok() || *port < 0 || *port > 65535) {
    return Malformed(text);
  }
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  ListenAddress address;
  address.port = static_cast<int>(*port);
  address.host = bracketed ? host.substr(1, host.size() - 2) : host;
  in6_addr ignored = {};
  if (inet_pton(bracketed ? AF_INET6 : AF_INET, address.host.c_str(), &ignored) != 1) {
    return Malformed(text);
  }
  return address;
}

Status CheckFree(const ListenAddress& address) {
  const int error = address.is_unix ? TryUnix(address) : TryTcp(address);
  if (error == 0) {
    return OkStatus();
  }
  return ErrorF(StatusCode::kUnavailable,
                "cannot listen on %s: %s",
                address.ForGrpc(),
                std::string(std::strerror(error)));
}

}  // namespace inferd
