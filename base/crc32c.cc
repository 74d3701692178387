#include "base/crc32c.h"

#include <array>
#include <cstddef>
#include <cstring>

namespace inferd {
namespace {

#if !defined(__SSE4_2__)
constexpr uint32_t kPolynomial = 0x82f63b78;  // reflected
using Tables = std::array<std::array<uint32_t, 256>, 8>;

// tables[k][b]: the checksum of byte b followed by k zero bytes, so that eight bytes cost eight
// look-ups ("slicing by 8").
constexpr Tables MakeTables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) {
      crc = crc >> 1 ^ ((crc & 1) != 0 ? kPolynomial : 0);
    }
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < tables.size(); ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t crc = tables[k - 1][byte];
      tables[k][byte] = crc >> 8 ^ tables[0][crc & 0xff];
    }
  }
  return tables;
}
#endif

uint32_t Extend(std::string_view bytes, uint32_t crc) {
#if defined(__SSE4_2__)
  // The instruction is this very polynomial's.
  uint64_t wide = crc;
  for (; bytes.size() >= 8; bytes.remove_prefix(8)) {
    uint64_t word;
    std::memcpy(&word, bytes.data(), sizeof(word));
    wide = __builtin_ia32_crc32di(wide, word);
  }
  crc = static_cast<uint32_t>(wide);
  for (const char c : bytes) {
    crc = __builtin_ia32_crc32qi(crc, static_cast<uint8_t>(c));
  }
  return crc;
#else
  static constexpr Tables kTables = MakeTables();
  for (; bytes.size() >= 8; bytes.remove_prefix(8)) {
    uint64_t word;
    std::memcpy(&word, bytes.data(), sizeof(word));
    word ^= crc;
    crc = 0;
    for (size_t i = 0; i < 8; ++i) {
      crc ^= kTables[7 - i][word >> (8 * i) & 0xff];
    }
  }
  for (const char c : bytes) {
    crc = crc >> 8 ^ kTables[0][(crc ^ static_cast<uint8_t>(c)) & 0xff];
  }
  return crc;
#endif
}

}  // namespace

uint32_t Crc32c(std::string_view bytes, uint32_t crc) { return ~Extend(bytes, ~crc); }

}  // namespace inferd
