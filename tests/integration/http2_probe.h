// A gRPC call made by hand over HTTP/2 (RFC 9113), to see the frames that the library hides.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace inferd {

struct Http2Frame {
  uint8_t type = 0;  // 0 DATA, 1 HEADERS
  uint8_t flags = 0;
  uint32_t size = 0;
};
inline constexpr uint8_t kHttp2Headers = 1;
inline constexpr uint8_t kHttp2EndStream = 1;

// Calls `path` with one message and returns the frames of its stream until the one that ends it;
// empty if the connection broke first. `port` on 127.0.0.1.
std::vector<Http2Frame> ProbeCall(int port, const std::string& path, const std::string& message);

}  // namespace inferd
