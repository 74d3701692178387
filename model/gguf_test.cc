#include "model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "model/gguf_writer.h"

namespace inferd {
namespace {

using testing::HasSubstr;

StatusOr<Gguf> Parse(const std::string& bytes) {
  return Gguf::Parse(std::as_bytes(std::span(bytes)));
}

template <typename T>
std::string Raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

std::string Text(std::string_view text) { return Raw<uint64_t>(text.size()) + std::string(text); }

std::string ArrayOf(GgufType element, uint64_t count, std::string_view elements) {
  return Raw(static_cast<uint32_t>(element)) + Raw(count) + std::string(elements);
}

// A file by hand: counts as declared, whatever follows.
std::string FileOf(uint64_t n_tensors,
                   uint64_t n_keys,
                   std::string_view rest,
                   uint32_t version = 3) {
  return "GGUF" + Raw(version) + Raw(n_tensors) + Raw(n_keys) + std::string(rest);
}

// One tensor's header entry.
std::string Entry(std::string_view name,
                  const std::vector<uint64_t>& dims,
                  uint32_t type,
                  uint64_t offset) {
  std::string bytes = Text(name) + Raw(static_cast<uint32_t>(dims.size()));
  for (const uint64_t dim : dims) {
    bytes += Raw(dim);
  }
  return bytes + Raw(type) + Raw(offset);
}

// Tensors only; the data section has `data_bytes` bytes.
std::string TensorFile(const std::vector<std::string>& entries, size_t data_bytes) {
  std::string bytes = FileOf(entries.size(), 0, "");
  for (const std::string& entry : entries) {
    bytes += entry;
  }
  bytes.resize((bytes.size() + 31) / 32 * 32);
  return bytes + std::string(data_bytes, '\1');
}

TEST(Gguf, ReadsBackWhatTheWriterWrote) {
  const float values[] = {1.5f, -2.0f, 0.0f, 4.0f};
  GgufWriter writer("llama");
  writer.Set("a.text", "hello")
      .Set("a.int", 7u)
      .Set("a.float", 0.25f)
      .Set("a.flag", true)
      .Set("a.texts", std::vector<std::string>{"x", "", "z"})
      .Set("a.floats", std::vector<float>{1.0f, 2.0f})
      .Set("a.ints", std::vector<int32_t>{-1, 1})
      .Set("a.flags", std::vector<bool>{true, false})
      .SetRaw("a.i8", GgufType::kI8, "\xff")
      .SetRaw("a.u64", GgufType::kU64, Raw<uint64_t>(~uint64_t{0}))
      .AddF32("t", 2, 2, values)
      .AddRandom("r", 3, 64, QuantFormat::kQ4_0, {.seed = 1});
  const std::string bytes = writer.Bytes();
  const auto gguf = Parse(bytes);
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  EXPECT_EQ(gguf->version(), 3u);
  EXPECT_EQ(gguf->alignment(), 32u);
  EXPECT_EQ(*gguf->GetString("a.text"), "hello");
  EXPECT_EQ(*gguf->GetInt("a.int"), 7);
  EXPECT_EQ(*gguf->GetInt("a.i8"), -1);
  EXPECT_EQ(*gguf->GetFloat("a.float"), 0.25);
  EXPECT_TRUE(*gguf->GetBool("a.flag"));
  EXPECT_EQ(std::get<GgufArray>(gguf->Find("a.texts")->value).size(), 3u);
  EXPECT_EQ(std::get<std::vector<bool>>(std::get<GgufArray>(gguf->Find("a.flags")->value).values),
            (std::vector<bool>{true, false}));
  EXPECT_EQ(gguf->GetInt("a.u64").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(gguf->GetInt("a.text").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(gguf->GetInt("absent").status().code(), StatusCode::kNotFound);
  ASSERT_EQ(gguf->tensors().size(), 2u);
  const GgufTensor* tensor = gguf->FindTensor("t");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->dims, (std::vector<uint64_t>{2, 2}));
  EXPECT_EQ(std::memcmp(tensor->data.data(), values, sizeof(values)), 0);
  EXPECT_EQ(gguf->FindTensor("r")->data.size(), 3u * 36);
}

TEST(Gguf, ReadsVersion2TheSameWay) {
  const std::string bytes = FileOf(0, 1, Text("k") + Raw(uint32_t{4}) + Raw(uint32_t{9}), 2);
  const auto gguf = Parse(bytes);
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  EXPECT_EQ(gguf->version(), 2u);
  EXPECT_EQ(*gguf->GetInt("k"), 9);
}

TEST(Gguf, TypesThatAreNotReadHaveNoData) {
  const std::string bytes = TensorFile({Entry("iq", {256}, 23, 0)}, 32);
  const auto gguf = Parse(bytes);
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  EXPECT_TRUE(gguf->FindTensor("iq")->data.empty());
}

struct Refusal {
  const char* name;
  std::string bytes;
  const char* message;
  StatusCode code = StatusCode::kInvalidArgument;
};

std::vector<Refusal> Refusals() {
  const auto key = [](uint32_t type, const std::string& value) {
    return FileOf(0, 1, Text("key") + Raw(type) + value);
  };
  const std::string one_key = Text("key") + Raw(uint32_t{7}) + '\1';
  constexpr uint64_t kHuge = uint64_t{1} << 62;
  const auto alignment = [](uint32_t value) {
    return FileOf(0, 1, Text("general.alignment") + Raw(uint32_t{4}) + Raw(value));
  };
  return {
      {"Empty", "", "does not start with"},
      {"Magic", "GGML" + std::string(100, '\0'), "does not start with"},
      {"Version1", FileOf(0, 0, "", 1), "version 1", StatusCode::kUnimplemented},
      {"BigEndian", FileOf(0, 0, "", 0x03000000), "big-endian", StatusCode::kUnimplemented},
      {"TooManyTensors", FileOf(65'537, 0, std::string(64, '\0')), "at most 65536"},
      {"TooManyKeys", FileOf(0, 65'537, std::string(64, '\0')), "at most 65536"},
      {"MoreKeysThanBytes", FileOf(0, 60'000, std::string(64, '\0')), "bytes that remain"},
      {"MoreTensorsThanBytes", FileOf(60'000, 0, std::string(64, '\0')), "bytes that remain"},
      {"WrappingCounts", FileOf(kHuge, kHuge, std::string(64, '\0')), "at most"},
      {"LongString", key(8, Raw<uint64_t>(1 << 21) + std::string(1 << 21, 'x')), "at most 1048576"},
      {"StringPastTheEnd", key(8, Raw<uint64_t>(100) + "abc"), "3 remain"},
      {"WrappingString", key(8, Raw(~uint64_t{0}) + "abc"), "at most"},
      {"UnknownType", key(13, std::string(8, '\0')), "value type 13"},
      {"BoolOfTwo", key(7, "\2"), "bool of value 2"},
      {"ArrayOfArrays", key(9, ArrayOf(GgufType::kArray, 1, std::string(16, '\0'))), "of arrays"},
      {"ArrayOfUnknown", key(9, Raw(uint32_t{77}) + Raw<uint64_t>(0)), "value type 77"},
      {"LongArray",
       key(9, ArrayOf(GgufType::kU8, (1 << 22) + 1, std::string((1 << 22) + 1, 'x'))),
       "at most 4194304"},
      {"ArrayPastTheEnd", key(9, ArrayOf(GgufType::kU64, 1000, "12345678")), "needs more"},
      {"StringsPastTheEnd", key(9, ArrayOf(GgufType::kString, 1000, "12345678")), "needs more"},
      {"WrappingArray", key(9, ArrayOf(GgufType::kU64, kHuge, "12345678")), "at most"},
      {"EmptyKey", FileOf(0, 1, Text("") + Raw(uint32_t{4}) + Raw(uint32_t{1})), "empty key"},
      {"DuplicateKey", FileOf(0, 2, one_key + one_key), "occurs twice"},
      {"EndsInsideAValue", key(12, "123"), "ends inside"},
      {"AlignmentOfThree", alignment(3), "alignment"},
      {"AlignmentOfZero", alignment(0), "alignment"},
      {"AlignmentTooLarge", alignment(1 << 21), "alignment"},
      {"AlignmentOfOtherType",
       FileOf(0, 1, Text("general.alignment") + Raw(uint32_t{8}) + Text("32")),
       "alignment"},
      {"NamelessTensor",
       TensorFile({Entry("", {8}, 0, 0), Entry("padding", {8}, 0, 32)}, 64),
       "without a name"},
      {"FiveDims", TensorFile({Entry("t", {1, 1, 1, 1, 1}, 0, 0)}, 32), "5 dimensions"},
      {"NoDims", TensorFile({Entry("t", {}, 0, 0) + "12345678"}, 32), "0 dimensions"},
      {"DimOfZero", TensorFile({Entry("t", {8, 0}, 0, 0)}, 32), "dimension of 0"},
      {"WrappingDims", TensorFile({Entry("t", {kHuge, 8}, 0, 0)}, 32), "overflow"},
      {"WrappingSize", TensorFile({Entry("t", {kHuge, 1}, 0, 0)}, 32), "overflow"},
      {"PartOfABlock", TensorFile({Entry("t", {48}, 2, 0)}, 64), "not whole blocks of Q4_0"},
      {"Misaligned", TensorFile({Entry("t", {8}, 0, 4)}, 64), "not aligned"},
      {"OutOfFile", TensorFile({Entry("t", {9}, 0, 0)}, 32), "data section has 32"},
      {"OffsetOutOfFile", TensorFile({Entry("t", {8}, 0, kHuge)}, 32), "data section has 32"},
      {"UnreadTypeOutOfFile", TensorFile({Entry("t", {256}, 23, 32)}, 32), "data section has 32"},
      {"UnreadTypeLargerThanAnyFormatCanBe",
       TensorFile({Entry("t", {uint64_t{1} << 40}, 23, 0)}, 32),
       "data section has 32"},
      {"DuplicateTensor",
       TensorFile({Entry("t", {8}, 0, 0), Entry("t", {8}, 0, 32)}, 64),
       "occurs twice"},
      {"Overlap",
       TensorFile({Entry("a", {16}, 0, 0), Entry("b", {8}, 0, 32)}, 64),
       "\"a\" and \"b\" overlap"},
      {"OverlapOfUnreadTypes",
       TensorFile({Entry("a", {256}, 23, 0), Entry("b", {8}, 0, 0)}, 64),
       "overlap"},
  };
}

class GgufRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(GgufRefuses, NamingWhatIsWrong) {
  const auto gguf = Parse(GetParam().bytes);
  ASSERT_FALSE(gguf.ok());
  EXPECT_EQ(gguf.status().code(), GetParam().code);
  EXPECT_THAT(std::string(Message(gguf.status())), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(Files,
                         GgufRefuses,
                         testing::ValuesIn(Refusals()),
                         [](const testing::TestParamInfo<Refusal>& refusal) {
                           return std::string(refusal.param.name);
                         });

TEST(Gguf, MessagesCarryNoRawBytesOfTheFile) {
  const std::string name("t\x1b[31m\xff\n", 8);
  const std::string bytes = TensorFile({Entry(name, {9}, 0, 0)}, 32);
  const auto gguf = Parse(bytes);
  EXPECT_THAT(std::string(Message(gguf.status())), HasSubstr("\"t\\x1b[31m\\xff\\x0a\""));
}

}  // namespace
}  // namespace inferd
