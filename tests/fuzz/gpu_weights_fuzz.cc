// A packed weight file, its header's checksum mended so that what lies behind it is reached:
// whatever parses has the size that it says, and can be read as numbers.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/check.h"
#include "base/crc32c.h"
#include "cuda/packed_weights.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using inferd::cuda_internal::PackedWeights;
  std::string file(reinterpret_cast<const char*>(data), size);
  constexpr size_t kCrcAt = 60;
  if (size >= kCrcAt + 4) {
    const uint32_t crc = inferd::Crc32c(file.substr(0, kCrcAt));
    std::memcpy(file.data() + kCrcAt, &crc, sizeof crc);
  }
  const auto weights = PackedWeights::Parse(file);
  if (weights.ok()) {
    CHECK(weights->Serialize().size() == size);
    CHECK(weights->DequantizeRow(0).size() == static_cast<size_t>(weights->k()));
    (void)weights->DequantizeRow(weights->n() - 1);
  }
  return 0;
}
