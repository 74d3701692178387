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

Status NotAllowed(std::string_view text) {
  return ErrorF(StatusCode::kInvalidArgument,
                "\"%s\" is not allowed: callers are not identified yet, so only 127.0.0.1:PORT, "
                "[::1]:PORT and unix:PATH are",
                text);
}

Status Malformed(std::string_view text) {
  return ErrorF(StatusCode::kInvalidArgument,
                "\"%s\" is not an address; write 127.0.0.1:PORT, [::1]:PORT or unix:PATH",
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

// A socket bound or connected to the address, or errno.
int TryTcp(const ListenAddress& address) {
  const bool v6 = address.host == "::1";
  const int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return errno;
  }
  // As gRPC's own listener does: connections of an earlier process in TIME_WAIT do not matter.
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_storage storage = {};
  socklen_t size = 0;
  if (v6) {
    sockaddr_in6 in6 = {};
    in6.sin6_family = AF_INET6;
    in6.sin6_addr = in6addr_loopback;
    in6.sin6_port = htons(static_cast<uint16_t>(address.port));
    std::memcpy(&storage, &in6, size = sizeof(in6));
  } else {
    sockaddr_in in = {};
    in.sin_family = AF_INET;
    inet_pton(AF_INET, address.host.c_str(), &in.sin_addr);
    in.sin_port = htons(static_cast<uint16_t>(address.port));
    std::memcpy(&storage, &in, size = sizeof(in));
  }
  const auto* generic = static_cast<const sockaddr*>(static_cast<const void*>(&storage));
  const int error = bind(fd, generic, size) == 0 && listen(fd, 1) == 0 ? 0 : errno;
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

std::string ListenAddress::ForGrpc() const {
  if (is_unix) {
    return "unix:" + path;
  }
  return absl::StrFormat("%s:%d", host == "::1" ? "[::1]" : host, port);
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
  ListenAddress address;
  address.port = static_cast<int>(*port);
  address.host = host;
  in_addr v4 = {};
  if (host == "[::1]") {
    address.host = "::1";
  } else if (inet_pton(AF_INET, address.host.c_str(), &v4) != 1 ||
             (ntohl(v4.s_addr) >> 24) != 127) {
    return NotAllowed(text);
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
