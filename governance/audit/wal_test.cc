// Goal: the WAL's bytes are those of docs/formats/wal.md, and no leaf that may have been
// acknowledged is dropped as a torn tail. Method: golden bytes; every byte of a log of three groups
// changed.
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "governance/audit/wal_format.h"

namespace inferd {
namespace {

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    hex += absl::StrFormat("%02x", static_cast<uint8_t>(c));
  }
  return hex;
}

std::vector<std::string> Strings(const std::vector<std::string_view>& views) {
  return {views.begin(), views.end()};
}

TEST(Crc32c, PublishedValues) {  // RFC 3720, appendix B.4
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c("56789", Crc32c("1234")), 0xe3069283u);
  EXPECT_EQ(Crc32c("456789", Crc32c("123")), 0xe3069283u);
}

TEST(WalFormat, GoldenBytes) {
  const std::string header = EncodeWalHeader({.epoch = 0x0102030405060708, .number = 7});
  EXPECT_EQ(Hex(header),
            "696e6677616c3031"
            "0807060504030201"
            "0700000000000000" +
                std::string(72, '0') + "67f42fa5");
  std::string frame;
  AppendWalFrame(frame,
                 0x0102030405060708,
                 {.group = 2, .index = 300, .position = 1, .count = 3, .leaf = "{\"a\":1}"});
  EXPECT_EQ(Hex(frame),
            "5746524d"
            "07000000"
            "0200000000000000"
            "2c01000000000000"
            "0100"
            "0300"
            "675720c9"
            "7b2261223a317d"
            "00");
}

TEST(WalFormat, NamesReadBack) {
  EXPECT_EQ(WalName(7), "wal.0007");
  EXPECT_EQ(WalNumber("wal.0007"), 7u);
  EXPECT_EQ(WalNumber("wal.12345"), 12345u);
  for (const char* bad : {"wal.", "wal.7", "wal.00007", "wal.x", "signed", "wal.0007.tmp"}) {
    EXPECT_FALSE(WalNumber(bad)) << bad;
  }
}

// Groups of 2, 3 and 2 leaves, numbers 0 to 6.
class ThreeGroups : public testing::Test {
 protected:
  void SetUp() override {
    bytes_ = EncodeWalHeader({.epoch = kEpoch, .number = 0});
    for (uint64_t i = 0; i < 7; ++i) {
      const uint64_t group = i < 2 ? 1 : i < 5 ? 2 : 3;
      const uint64_t first = group == 1 ? 0 : group == 2 ? 2 : 5;
      if (i == 5) {
        last_group_at_ = bytes_.size();
      }
      leaves_.push_back("leaf " + std::to_string(i));
      AppendWalFrame(bytes_,
                     kEpoch,
                     {.group = group,
                      .index = i,
                      .position = static_cast<uint16_t>(i - first),
                      .count = static_cast<uint16_t>(group == 2 ? 3 : 2),
                      .leaf = leaves_.back()});
    }
    bytes_.resize(bytes_.size() + 100, '\0');
  }

  static constexpr uint64_t kEpoch = 9;
  std::string bytes_;
  std::vector<std::string> leaves_;
  size_t last_group_at_ = 0;
};

TEST_F(ThreeGroups, ReadBack) {
  const auto contents = ReadWal({{0, bytes_}}, 0);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(Strings(contents->leaves), leaves_);
  EXPECT_EQ(contents->torn_bytes, 0u);
  EXPECT_EQ(contents->last_group, 3u);
  // Those that the tree has are skipped.
  EXPECT_EQ(ReadWal({{0, bytes_}}, 4)->leaves.size(), 3u);
  EXPECT_TRUE(ReadWal({{0, bytes_}}, 7)->leaves.empty());
  EXPECT_TRUE(ReadWal({}, 0)->leaves.empty());
}

TEST_F(ThreeGroups, EveryByteChanged) {
  for (size_t at = kWalHeaderBytes; at < bytes_.size(); ++at) {
    std::string changed = bytes_;
    changed[at] = static_cast<char>(changed[at] ^ 0x20);
    const auto contents = ReadWal({{0, changed}}, 0);
    if (at < last_group_at_) {
      // All leaves (a byte of padding), or corruption: never fewer.
      EXPECT_TRUE(contents.ok() ? Strings(contents->leaves) == leaves_
                                : contents.status().code() == StatusCode::kDataLoss)
          << at;
      continue;
    }
    ASSERT_TRUE(contents.ok()) << at << ": " << contents.status();
    EXPECT_GE(contents->leaves.size(), 5u);
    EXPECT_TRUE(std::equal(contents->leaves.begin(), contents->leaves.end(), leaves_.begin()));
  }
}

TEST_F(ThreeGroups, EveryPrefixIsATornTail) {
  for (size_t size = kWalHeaderBytes; size < bytes_.size(); ++size) {
    const auto contents = ReadWal({{0, bytes_.substr(0, size)}}, 0);
    ASSERT_TRUE(contents.ok()) << size;
    EXPECT_TRUE(std::equal(contents->leaves.begin(), contents->leaves.end(), leaves_.begin()));
  }
}

// An acknowledged group that is gone from the beginning is seen, too.
TEST_F(ThreeGroups, AMissingFirstGroupIsCorruption) {
  std::string changed = bytes_;
  const size_t group1 = 2 * WalFrameBytes(leaves_[0].size());
  changed.replace(kWalHeaderBytes, group1, group1, '\0');
  EXPECT_EQ(ReadWal({{0, changed}}, 0).status().code(), StatusCode::kDataLoss);
  // Unless the tree has it.
  const auto contents = ReadWal({{0, changed}}, 2);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->leaves.size(), 5u);
}

TEST_F(ThreeGroups, FramesOfAnotherEpochAreNone) {
  std::string other = bytes_;
  other.replace(0, kWalHeaderBytes, EncodeWalHeader({.epoch = kEpoch + 1, .number = 0}));
  const auto contents = ReadWal({{0, other}}, 0);
  ASSERT_TRUE(contents.ok());
  EXPECT_TRUE(contents->leaves.empty());
}

TEST_F(ThreeGroups, GoesOnInTheNextSegment) {
  std::string next = EncodeWalHeader({.epoch = 11, .number = 1});
  AppendWalFrame(next, 11, {.group = 4, .index = 7, .position = 0, .count = 1, .leaf = "leaf 7"});
  EXPECT_EQ(ReadWal({{0, bytes_}, {1, next}}, 0)->leaves.size(), 8u);
  // A bad last frame of the first segment is of an earlier group than what the second holds.
  std::string changed = bytes_;
  changed[last_group_at_ + kWalFrameHeaderBytes] ^= 1;
  EXPECT_EQ(ReadWal({{0, changed}, {1, next}}, 0).status().code(), StatusCode::kDataLoss);
  // So it is if the first segment has no header.
  changed[0] ^= 1;
  EXPECT_EQ(ReadWal({{0, changed}, {1, next}}, 0).status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace inferd
