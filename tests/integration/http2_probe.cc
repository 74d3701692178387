#include "tests/integration/http2_probe.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace inferd {
namespace {

constexpr size_t kFrameHeaderBytes = 9;

std::string BigEndian(uint64_t value, int bytes) {
  std::string result;
  for (int i = bytes - 1; i >= 0; --i) {
    result.push_back(static_cast<char>(value >> (8 * i)));
  }
  return result;
}

std::string Frame(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload) {
  return BigEndian(payload.size(), 3) + BigEndian(type, 1) + BigEndian(flags, 1) +
         BigEndian(stream, 4) + payload;
}

// A header in HPACK's plainest form: literal, never indexed, no Huffman (RFC 7541, 6.2.3).
std::string Header(const std::string& name, const std::string& value) {
  return BigEndian(0x10, 1) + BigEndian(name.size(), 1) + name + BigEndian(value.size(), 1) + value;
}

bool ReadExactly(int fd, size_t size, std::string& out) {
  out.assign(size, '\0');
  size_t have = 0;
  while (have < size) {
    const ssize_t got = recv(fd, out.data() + have, size - have, 0);
    if (got <= 0) {
      return false;
    }
    have += static_cast<size_t>(got);
  }
  return true;
}

uint32_t Number(const std::string& bytes, size_t first, size_t count) {
  uint32_t value = 0;
  for (size_t i = first; i < first + count; ++i) {
    value = value << 8 | static_cast<uint8_t>(bytes[i]);
  }
  return value;
}

std::vector<Http2Frame> ReadStream(int fd) {
  std::vector<Http2Frame> frames;
  std::string header;
  std::string payload;
  while (ReadExactly(fd, kFrameHeaderBytes, header)) {
    const Http2Frame frame{.type = static_cast<uint8_t>(header[3]),
                           .flags = static_cast<uint8_t>(header[4]),
                           .size = Number(header, 0, 3)};
    const uint32_t stream = Number(header, 5, 4);
    if (!ReadExactly(fd, frame.size, payload)) {
      return {};
    }
    if (stream == 1) {
      frames.push_back(frame);
      if ((frame.flags & kHttp2EndStream) != 0) {
        return frames;
      }
    }
  }
  return {};
}

}  // namespace

std::vector<Http2Frame> ProbeCall(int port, const std::string& path, const std::string& message) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  in.sin_port = htons(static_cast<uint16_t>(port));
  const auto* generic = static_cast<const sockaddr*>(static_cast<const void*>(&in));
  std::vector<Http2Frame> frames;
  if (connect(fd, generic, sizeof(in)) == 0) {
    const std::string headers = Header(":method", "POST") + Header(":scheme", "http") +
                                Header(":path", path) + Header(":authority", "localhost") +
                                Header("te", "trailers") +
                                Header("content-type", "application/grpc");
    const std::string data = BigEndian(0, 1) + BigEndian(message.size(), 4) + message;
    const std::string bytes = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(4, 0, 0, "") +
                              Frame(kHttp2Headers, 4, 1, headers) +  // END_HEADERS
                              Frame(0, kHttp2EndStream, 1, data);
    if (send(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size())) {
      frames = ReadStream(fd);
    }
  }
  close(fd);
  return frames;
}

}  // namespace inferd
