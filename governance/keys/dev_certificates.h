// Certificates for a first try: an authority of one's own, the daemon's certificate, and one for
// each caller. For more than a try, take a real authority.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace inferd {

inline constexpr char kDevCaFile[] = "ca.pem";
inline constexpr char kDevCaKeyFile[] = "ca.key";
inline constexpr char kDevServerFile[] = "server.pem";
inline constexpr char kDevServerKeyFile[] = "server.key";

struct DevCertificates {
  std::string directory;
  std::vector<std::string> hosts;    // names and addresses of the daemon; localhost is always one
  std::vector<std::string> callers;  // SPIFFE ids ("spiffe://example.org/summaries")
  WallTime now;
  Duration lifetime = std::chrono::hours(24 * 90);  // of all of them
};

// What a caller's files are called: the id's last part.
std::string DevCallerName(std::string_view spiffe_id);

// Writes ca.pem, ca.key, server.pem, server.key, and NAME.pem and NAME.key for each caller; keys of
// P-256, of mode 0600. Where ca.pem and ca.key are there, they sign what is asked for, and a
// server.pem that is there stays. Returns the paths written. kAlreadyExists rather than overwrite,
// kInvalidArgument for a host or an id that is none.
StatusOr<std::vector<std::string>> WriteDevCertificates(const DevCertificates& wanted);

}  // namespace inferd
