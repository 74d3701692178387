// Where the data plane may listen. Callers are not identified yet, so that only this host's own
// addresses are allowed: loopback, or a Unix socket guarded by its permissions.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace inferd {

struct ListenAddress {
  bool is_unix = false;
  std::string host;  // "127.0.0.1" or "::1"; if !is_unix
  int port = 0;      // 0: the system picks one; if !is_unix
  std::string path;  // if is_unix

  // As gRPC takes it: "127.0.0.1:8750", "[::1]:8750", "unix:/run/inferd.sock".
  std::string ForGrpc() const;
};

// "127.0.0.1:PORT" (all of 127.0.0.0/8), "[::1]:PORT" or "unix:PATH"; anything else is
// kInvalidArgument and says what is allowed.
StatusOr<ListenAddress> ParseListenAddress(std::string_view text);

// kUnavailable if something listens there already, or the address cannot be bound, and why. gRPC
// itself says neither.
Status CheckFree(const ListenAddress& address);

}  // namespace inferd
