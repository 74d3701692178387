// SHA-256 (FIPS 180-4), by way of libcrypto, which picks the CPU's SHA instructions.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "base/digest.h"

namespace inferd {

// A digest computed piece by piece. Not thread-safe. After Finish() it is empty again.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Update(std::span<const std::byte> bytes);
  void Update(std::string_view text);
  Digest Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Digest Sha256Of(std::span<const std::byte> bytes);
Digest Sha256Of(std::string_view text);

}  // namespace inferd
