#include "base/little_endian.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

TEST(LittleEndian, TheLowestByteIsFirst) {
  std::string bytes = "x";
  AppendLittleEndian(uint16_t{0x8001}, bytes);
  AppendLittleEndian(uint32_t{0xfedcba98}, bytes);
  AppendLittleEndian(uint64_t{0x8070605040302010}, bytes);
  EXPECT_EQ(bytes, "x\x01\x80\x98\xba\xdc\xfe\x10\x20\x30\x40\x50\x60\x70\x80");
  EXPECT_EQ(ReadLittleEndian<uint16_t>(bytes, 1), 0x8001u);
  EXPECT_EQ(ReadLittleEndian<uint32_t>(bytes, 3), 0xfedcba98u);
  EXPECT_EQ(ReadLittleEndian<uint64_t>(bytes, 7), 0x8070605040302010u);
  EXPECT_EQ(ReadLittleEndian<uint8_t>(bytes), 'x');
}

}  // namespace
}  // namespace inferd
