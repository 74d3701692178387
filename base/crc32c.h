// CRC-32C (Castagnoli, RFC 3720 appendix B.4): torn writes are told from whole ones.
#pragma once

#include <cstdint>
#include <string_view>

namespace inferd {

// The checksum of `bytes`; of more bytes, if `crc` is that of those before.
uint32_t Crc32c(std::string_view bytes, uint32_t crc = 0);

}  // namespace inferd
