// Goal: the vocabulary every room stands on keeps its promises. Method: published vectors where
// there are some (SHA-256, Philox), exhaustive sweeps where the domain is small (binary16).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>

#include "base/bounded_queue.h"
#include "base/check.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/half.h"
#include "base/log.h"
#include "base/model_geometry.h"
#include "base/random.h"
#include "base/sampling_params.h"
#include "base/sha256.h"
#include "base/status.h"
#include "base/ulid.h"
#include "base/utf8.h"

namespace inferd {
namespace {

using ::testing::HasSubstr;

TEST(Status, MacrosPassErrorsOn) {
  const auto fails = []() -> Status { return ErrorF(StatusCode::kNotFound, "no %s", "luck"); };
  const auto caller = [&]() -> StatusOr<int> {
    RETURN_IF_ERROR(fails());
    return 1;
  };
  EXPECT_EQ(caller().status().code(), StatusCode::kNotFound);
  const auto assigns = [&]() -> StatusOr<int> {
    ASSIGN_OR_RETURN(const int value, caller());
    return value + 1;
  };
  EXPECT_EQ(Message(assigns().status()), "no luck");
  EXPECT_EQ(Message(Annotate(fails(), "model m")), "model m: no luck");
}

TEST(CheckDeathTest, EndsTheProcess) {
  EXPECT_DEATH(CHECK(1 + 1 == 3), "CHECK failed: 1 \\+ 1 == 3");
}

TEST(Digest, HexRoundTripAndBadInput) {
  const Digest digest = Sha256Of("abc");
  EXPECT_EQ(digest.Hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(*Digest::FromHex(digest.Hex()), digest);
  EXPECT_FALSE(Digest::FromHex("abc").ok());
  EXPECT_FALSE(Digest::FromHex(std::string(63, '0') + "g").ok());
}

TEST(Sha256, PiecesEqualTheWhole) {
  Sha256 sha;
  sha.Update("a");
  sha.Update("bc");
  EXPECT_EQ(sha.Finish(), Sha256Of("abc"));
  EXPECT_EQ(sha.Finish().Hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Half, EveryValueRoundTrips) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = HalfToFloat(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(value))));
    } else {
      EXPECT_EQ(FloatToHalf(value), half) << bits;
    }
  }
}

TEST(Half, RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {
    const auto low = static_cast<uint16_t>(bits);
    const auto high = static_cast<uint16_t>(bits + 1);
    const float middle = (HalfToFloat(low) + HalfToFloat(high)) / 2;  // exact in f32
    EXPECT_EQ(FloatToHalf(middle), (low & 1) == 0 ? low : high);
    EXPECT_EQ(FloatToHalf(std::nextafter(middle, 0.0f)), low);
    EXPECT_EQ(FloatToHalf(std::nextafter(middle, 1e9f)), high);
  }
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToHalf(65519.99f), 0x7bff);
  EXPECT_EQ(FloatToHalf(-std::numeric_limits<float>::infinity()), 0xfc00);
}

TEST(Half, BfloatRoundsToNearestEven) {
  EXPECT_EQ(FloatToBfloat(1.0f), 0x3f80);
  EXPECT_EQ(FloatToBfloat(std::bit_cast<float>(0x3f808000u)), 0x3f80);
  EXPECT_EQ(FloatToBfloat(std::bit_cast<float>(0x3f818000u)), 0x3f82);
  EXPECT_EQ(BfloatToFloat(0x3f82), std::bit_cast<float>(0x3f820000u));
}

// Random123's known-answer vectors for philox4x32-10.
TEST(Random, PhiloxKnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, BelowStaysBelow) {
  SplitMix64 random(7);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_LT(random.Below(3), 3u);
    EXPECT_LT(random.Unit(), 1.0);
  }
}

TEST(Utf8, ReplacesMaximalSubparts) {
  EXPECT_TRUE(IsValidUtf8("h\xc3\xa9 \xf0\x9f\x98\x80"));
  EXPECT_FALSE(IsValidUtf8("\xed\xa0\x80"));  // a surrogate
  EXPECT_FALSE(IsValidUtf8("\xc0\xaf"));      // overlong
  EXPECT_TRUE(IsUtf8Prefix("\xf0\x9f\x98"));
  EXPECT_FALSE(IsUtf8Prefix("\xf0\x8f"));
  // The standard's own example (section 3.9, table 3-8).
  EXPECT_EQ(
      ReplaceInvalidUtf8("a\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64"),
      "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\x62\xef\xbf\xbd\x63\xef\xbf\xbd\xef\xbf\xbd\x64");
}

TEST(Utf8, PrefixesEndBetweenCodePoints) {
  EXPECT_EQ(Utf8Prefix("a\xc3\xa9", 2), "a");
  EXPECT_EQ(Utf8Prefix("a\xc3\xa9", 3), "a\xc3\xa9");
  EXPECT_EQ(Utf8Prefix("a\xc3\xa9", 9), "a\xc3\xa9");
  EXPECT_EQ(Utf8Prefix("\xf0\x9f\x98\x80", 3), "");
  EXPECT_EQ(Utf8Prefix("", 1), "");
}

TEST(Log, JsonQuoteEscapes) {
  EXPECT_EQ(JsonQuote("a\"b\\\n\xff"), "\"a\\\"b\\\\\\u000a\xef\xbf\xbd\"");
}

TEST(BoundedQueue, RefusesAboveItsCapacityAndAfterClose) {
  BoundedQueue<int> queue(2);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_TRUE(queue.TryPush(2));
  EXPECT_FALSE(queue.TryPush(3));
  EXPECT_THAT(queue.Drain(), ::testing::ElementsAre(1, 2));
  queue.Close();
  EXPECT_FALSE(queue.TryPush(4));
  EXPECT_TRUE(queue.WaitAndDrain(Duration::max() / 4).empty());
}

TEST(BoundedQueue, WakesAWaiter) {
  BoundedQueue<int> queue(1);
  std::thread producer([&] { EXPECT_TRUE(queue.TryPush(5)); });
  EXPECT_THAT(queue.WaitAndDrain(std::chrono::minutes(1)), ::testing::ElementsAre(5));
  producer.join();
  queue.Wake();
  EXPECT_TRUE(queue.WaitAndDrain(std::chrono::minutes(1)).empty());
}

TEST(File, ReadsMapsAndRefuses) {
  const std::string path = ::testing::TempDir() + "/inferd_base_file_test";
  std::ofstream(path) << "hello";
  EXPECT_EQ(*ReadFile(path, 5), "hello");
  EXPECT_EQ(ReadFile(path, 4).status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(ReadFile(path + ".absent", 4).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(MappedFile::Open("/dev/null").status().code(), StatusCode::kInvalidArgument);
  StatusOr<MappedFile> mapped = MappedFile::Open(path);
  ASSERT_TRUE(mapped.ok());
  MappedFile moved = *std::move(mapped);
  EXPECT_EQ(moved.bytes().size(), 5u);
  EXPECT_EQ(static_cast<char>(moved.bytes()[0]), 'h');
  std::remove(path.c_str());
}

TEST(File, AnInputFileIsTheOneThatWasOpenedAndTellsOfItsSize) {
  const std::string path = ::testing::TempDir() + "/inferd_base_input_file_test";
  std::ofstream(path) << "hello";
  StatusOr<InputFile> file = InputFile::Open(path);
  ASSERT_TRUE(file.ok());
  std::ofstream(path + ".new") << "other";
  std::rename((path + ".new").c_str(), path.c_str());
  StatusOr<PrivateMemory> memory = PrivateMemory::Allocate(5);
  ASSERT_TRUE(memory.ok());
  ASSERT_TRUE(file->Read(0, memory->writable()).ok());
  EXPECT_EQ(std::memcmp(memory->bytes().data(), "hello", 5), 0);
  ASSERT_TRUE(file->Read(3, memory->writable().first(2)).ok());
  EXPECT_EQ(std::memcmp(memory->bytes().data(), "lollo", 5), 0);

  StatusOr<InputFile> changing = InputFile::Open(path);
  EXPECT_TRUE(changing->CheckSize().ok());
  std::filesystem::resize_file(path, 3);
  EXPECT_EQ(changing->CheckSize().code(), StatusCode::kUnavailable);
  EXPECT_EQ(changing->Read(0, memory->writable()).code(), StatusCode::kUnavailable);
  std::filesystem::resize_file(path, 6);
  EXPECT_EQ(changing->CheckSize().code(), StatusCode::kUnavailable);
  std::remove(path.c_str());
  EXPECT_EQ(InputFile::Open("/dev/null").status().code(), StatusCode::kInvalidArgument);
}

TEST(PrivateMemory, IsZerosAndReleasedPagesAreZerosAgain) {
  constexpr size_t kSize = 3 << 20;
  StatusOr<PrivateMemory> memory = PrivateMemory::Allocate(kSize);
  ASSERT_TRUE(memory.ok());
  std::fill(memory->writable().begin(), memory->writable().end(), std::byte{7});
  memory->Release(memory->bytes().subspan(1 << 20, 1 << 20));
  EXPECT_EQ(memory->bytes()[(1 << 20) - 1], std::byte{7});
  EXPECT_EQ(memory->bytes()[3 << 19], std::byte{0});
  EXPECT_EQ(memory->bytes()[2 << 20], std::byte{7});
  EXPECT_TRUE(PrivateMemory::Allocate(0)->bytes().empty());
}

TEST(SamplingParams, ValidateNamesTheField) {
  EXPECT_TRUE(Validate(SamplingParams{}, 10).ok());
  SamplingParams params;
  params.temperature = std::nanf("");
  EXPECT_THAT(std::string(Message(Validate(params, 10))), HasSubstr("temperature"));
  params = {};
  params.top_p = 0;
  EXPECT_THAT(std::string(Message(Validate(params, 10))), HasSubstr("top_p: 0 is not in (0, 1]"));
  params = {};
  params.logit_bias = {{10, 1.0f}};
  EXPECT_THAT(std::string(Message(Validate(params, 10))), HasSubstr("vocabulary of 10"));
  params.logit_bias = {{1, 1.0f}, {1, 2.0f}};
  EXPECT_THAT(std::string(Message(Validate(params, 10))), HasSubstr("twice"));
}

TEST(StateGroup, WindowBlocksDieWhenNoPositionSeesThem) {
  const StateGroup full{};
  EXPECT_EQ(full.FirstLiveBlock(100000), 0);
  const StateGroup window{.kind = StateKind::kBlocks, .window = 128, .unit_bytes = 0};
  EXPECT_EQ(window.FirstLiveBlock(0), 0);
  EXPECT_EQ(window.FirstLiveBlock(190), 0);  // sees positions 63..190
  EXPECT_EQ(window.FirstLiveBlock(191), 1);  // sees 64..191
  EXPECT_EQ(StateGroup::BlocksFor(64), 1);
  EXPECT_EQ(StateGroup::BlocksFor(65), 2);
}

// The specification's example has this time: 1469918176385 ms.
TEST(Ulid, TimeIsInFront) {
  const WallTime time(std::chrono::milliseconds(1469918176385));
  EXPECT_EQ(MakeUlid(time, {}), "01ARYZ6S410000000000000000");
  EXPECT_EQ(MakeUlid(time, {255, 255, 255, 255, 255, 255, 255, 255, 255, 255}),
            "01ARYZ6S41ZZZZZZZZZZZZZZZZ");
  EXPECT_TRUE(IsUlid(NewUlid(time)));
  EXPECT_EQ(TimeOfUlid(NewUlid(time)), std::chrono::floor<std::chrono::milliseconds>(time));
  EXPECT_EQ(TimeOfUlid("no ulid"), WallTime());
  EXPECT_NE(NewUlid(time), NewUlid(time));
  for (const char* bad : {"",
                          "01ARYZ6S41TSV4RRFFQ69G5FA",
                          "81ARYZ6S41TSV4RRFFQ69G5FAV",
                          "01ARYZ6S41TSV4RRFFQ69G5FAI",
                          "01aryz6s41tsv4rrffq69g5fav"}) {
    EXPECT_FALSE(IsUlid(bad)) << bad;
  }
}

}  // namespace
}  // namespace inferd
