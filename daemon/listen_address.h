// Where the daemon may listen.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace inferd {

struct ListenAddress {
  bool is_unix = false;
  std::string host;  // "127.0.0.1", "0.0.0.0", "::1", ...; if !is_unix
  int port = 0;      // 0: the system picks one; if !is_unix
  std::string path;  // if is_unix

  // Nobody on another host reaches it: loopback, or a Unix socket guarded by its permissions.
  bool IsLocal() const;
  // As gRPC takes it: "127.0.0.1:8750", "[::1]:8750", "unix:/run/inferd.sock".
  std::string ForGrpc() const;
};

// "A.B.C.D:PORT", "[IPv6]:PORT" or "unix:PATH"; anything else, host names too, is kInvalidArgument
// and says what is allowed.
StatusOr<ListenAddress> ParseListenAddress(std::string_view text);

// kUnavailable if something listens there already, or the address cannot be bound, and why. gRPC
// itself says neither.
Status CheckFree(const ListenAddress& address);

}  // namespace inferd
