// WitnessServer: a Witness (governance/verify/witness.h) over HTTP, C2SP tlog-witness.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "governance/verify/witness.h"

namespace inferd {

inline constexpr size_t kWitnessConnectionsMax = 64;  // more are closed at once
inline constexpr Duration kWitnessRequestTime = std::chrono::seconds(10);

// One thread of its own does everything; requests are one at a time.
class WitnessServer {
 public:
  // Listens on HOST:PORT (numbers; port 0: the system picks one). `witness` and `clock` outlive it.
  static StatusOr<std::unique_ptr<WitnessServer>> Start(const std::string& address,
                                                        Witness& witness,
                                                        const Clock& clock);
  ~WitnessServer();

  uint16_t port() const;

 private:
  class Impl;
  explicit WitnessServer(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace inferd
