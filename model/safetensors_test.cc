// Goal: safetensors are read as the format says, and what a stranger may have put wrong is refused
// by name; the int4 parts of a linear op, too. What the numbers mean is tested over whole models
// (tests/conformance/folder_conformance_test.cc).
#include "model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "base/half.h"
#include "model/dequantize.h"
#include "model/int4_blocks.h"
#include "tests/support/random_folder.h"

namespace inferd {
namespace {

using testing::HasSubstr;

StatusOr<Safetensors> Parse(const std::string& bytes) {
  return Safetensors::Parse(std::as_bytes(std::span(bytes)));
}

std::string WithHeader(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + header + data;
}

TEST(Safetensors, ReadsTensors) {
  const std::string bytes = SafetensorsBytes(
      {{"a", "BF16", {2, 3}, "abcdefghijkl"}, {"b", "U8", {}, "z"}, {"c", "F32", {0, 4}, ""}});
  const auto file = Parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors().size(), 3u);
  const SafetensorsTensor& a = file->tensors().at("a");
  EXPECT_EQ(a.type, SafetensorsType::kBF16);
  EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(std::memcmp(a.data.data(), "abcdefghijkl", 12), 0);
  EXPECT_EQ(file->tensors().at("b").type, SafetensorsType::kOther);
  EXPECT_EQ(file->tensors().at("c").data.size(), 0u);
}

TEST(Safetensors, RefusesWhatDoesNotFit) {
  const auto entry = [](const char* shape, const char* offsets) {
    return std::string(R"({"t":{"dtype":"F32","shape":)") + shape + R"(,"data_offsets":)" +
           offsets + "}}";
  };
  const std::string eight(8, 'x');
  struct Case {
    std::string bytes;
    const char* says;
  };
  const Case cases[] = {
      {"", "no header"},
      {std::string(8, '\xff'), "a header of"},
      {WithHeader("[]", ""), "not a JSON object"},
      {WithHeader("{", ""), "not a JSON object"},
      {WithHeader(std::string(100, '['), ""), "nested 100 deep"},
      {WithHeader(R"({"t":7})", ""), "no dtype"},
      {WithHeader(entry("[2]", "[0,12]"), eight), "do not lie in the file"},
      {WithHeader(entry("[2]", "[8,0]"), eight), "do not lie in the file"},
      {WithHeader(entry("[2]", "[0,4]"), eight), "shape does not fit"},
      {WithHeader(entry("[-2]", "[0,8]"), eight), "no size"},
      {WithHeader(entry("[4611686018427387904,4]", "[0,0]"), ""), "shape does not fit"},
      {WithHeader(entry("[1,1,1,1,1,1,1,1,2]", "[0,8]"), eight), "more than 8 dimensions"},
      {WithHeader(entry("[1]", "[4,8]"), eight), "a gap or an overlap"},
      {WithHeader(entry("[1]", "[0,4]"), eight), "behind the last tensor"},
      {WithHeader(R"({"t":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}})", "xxxx"), "\"F4\""},
  };
  for (const Case& test : cases) {
    const auto file = Parse(test.bytes);
    ASSERT_FALSE(file.ok()) << test.says;
    EXPECT_THAT(std::string(Message(file.status())), HasSubstr(test.says));
  }
}

// One op of 8 outputs and 64 inputs, as GPTQ: code (row, col) = (row + col) mod 16.
struct Op {
  std::vector<uint32_t> codes;
  std::vector<uint32_t> zeros = {0x77777777u, 0x76543210u};
  std::vector<uint16_t> scales;
  std::vector<int32_t> groups;

  Op() {
    for (uint32_t col = 0; col < 64; col += 8) {
      for (uint32_t row = 0; row < 8; ++row) {
        uint32_t word = 0;
        for (uint32_t i = 0; i < 8; ++i) {
          word |= (row + col + i) % 16 << (4 * i);
        }
        codes.push_back(word);
      }
    }
    for (int i = 0; i < 16; ++i) {
      scales.push_back(FloatToHalf(0.5f + static_cast<float>(i)));
    }
    for (int32_t i = 0; i < 64; ++i) {
      groups.push_back(i / 32);
    }
  }

  std::string Bytes() const {
    const auto bytes = [](const auto& values) {
      return std::string(reinterpret_cast<const char*>(values.data()),
                         values.size() * sizeof(values[0]));
    };
    return SafetensorsBytes({{"codes", "I32", {8, 8}, bytes(codes)},
                             {"zeros", "I32", {2, 1}, bytes(zeros)},
                             {"scales", "F16", {2, 8}, bytes(scales)},
                             {"groups", "I32", {64}, bytes(groups)}});
  }

  StatusOr<Int4Blocks> Read(int64_t group = 32) const {
    const std::string bytes = Bytes();
    const auto file = Parse(bytes);
    EXPECT_TRUE(file.ok()) << file.status();
    return ReadInt4({.name = "op",
                     .layout = Int4Layout::kGptq,
                     .group = group,
                     .codes = &file->tensors().at("codes"),
                     .zeros = &file->tensors().at("zeros"),
                     .scales = &file->tensors().at("scales"),
                     .group_index = &file->tensors().at("groups")});
  }
};

TEST(Int4Blocks, HoldsTheVeryNumbers) {
  Op op;
  for (const bool reversed : {false, true}) {
    if (reversed) {
      std::reverse(op.groups.begin(), op.groups.end());
    }
    const auto blocks = op.Read();
    ASSERT_TRUE(blocks.ok()) << blocks.status();
    EXPECT_EQ(blocks->format, QuantFormat::kQ5_0);
    EXPECT_EQ(blocks->column_order.empty(), !reversed);
    const std::vector<float> values = Dequantize(
        {"op", blocks->format, blocks->rows, blocks->cols, blocks->data, blocks->column_order});
    for (int row = 0; row < 8; ++row) {
      for (int col = 0; col < 64; ++col) {
        const int group = op.groups[static_cast<size_t>(col)];
        const int zero = group == 0 ? 8 : row + 1;
        const float scale = 0.5f + static_cast<float>(8 * group + row);
        EXPECT_EQ(values[static_cast<size_t>(64 * row + col)],
                  scale * static_cast<float>((row + col) % 16 - zero))
            << row << ", " << col;
      }
    }
  }
  op.zeros[1] = 0x77777777u;
  const auto symmetric = op.Read();
  ASSERT_TRUE(symmetric.ok());
  EXPECT_EQ(symmetric->format, QuantFormat::kQ4_0);
}

TEST(Int4Blocks, RefusesWhatIsNotServed) {
  const auto says = [](const Op& op, int64_t group, const char* text) {
    const auto blocks = op.Read(group);
    ASSERT_FALSE(blocks.ok()) << text;
    EXPECT_THAT(std::string(Message(blocks.status())), HasSubstr(text));
  };
  says(Op(), 16, "groups of whole 32s");
  says(Op(), 64, "do not fit each other");
  says(Op(), 0, "groups of whole 32s");
  Op op;
  op.zeros[0] = 0xf7777777u;
  says(op, 32, "stored zero of 15");
  op = Op();
  op.scales[3] = 0x7c00;
  says(op, 32, "no finite f16");
  op = Op();
  op.groups[0] = 2;
  says(op, 32, "not there");
  op.groups[0] = -1;
  says(op, 32, "not there");
  op.groups[0] = 1;
  says(op, 32, "unequal size");
}

}  // namespace
}  // namespace inferd
