#include "model/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "model/gguf_writer.h"
#include "tests/support/random_model.h"

namespace inferd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

ModelSummary SummarizeFile(const GgufWriter& writer) {
  const std::string bytes = writer.Bytes();
  const auto gguf = Gguf::Parse(std::as_bytes(std::span(bytes)));
  EXPECT_TRUE(gguf.ok()) << gguf.status();
  return Summarize(*gguf, bytes.size());
}

TEST(Inspect, SumsUpAModelThatIsServed) {
  RandomModelSpec spec = TinyModel("qwen3", 1, QuantFormat::kQ4_0);
  spec.embedding = QuantFormat::kQ8_0;
  const ModelSummary summary = SummarizeFile(RandomModel(spec));
  EXPECT_EQ(summary.architecture, "qwen3");
  EXPECT_EQ(summary.name, "random qwen3");
  EXPECT_EQ(summary.gguf_version, 3u);
  EXPECT_EQ(summary.context_tokens_max, 512);
  EXPECT_EQ(summary.n_layers, 2);
  EXPECT_EQ(summary.d_model, 96);
  EXPECT_EQ(summary.tokenizer, "gpt2");
  EXPECT_EQ(summary.pre_tokenizer, "smollm");
  EXPECT_EQ(summary.n_tokens, 331u);
  EXPECT_TRUE(summary.has_chat_template);
  EXPECT_THAT(summary.unsupported, IsEmpty());
  ASSERT_EQ(summary.formats.size(), 3u);
  EXPECT_EQ(summary.formats[0].name, "Q4_0");
  EXPECT_EQ(summary.formats[0].bytes, summary.formats[0].n_values / 32 * 18);
  EXPECT_EQ(summary.formats[1].name, "Q8_0");
  EXPECT_EQ(summary.formats[1].n_values, 331u * 96);
  EXPECT_THAT(summary.metadata, testing::Contains(Pair("qwen3.block_count", "2")));
  EXPECT_THAT(ToText(summary), HasSubstr("served          yes\n"));
}

TEST(Inspect, GivesEveryReasonOfAModelThatIsNot) {
  GgufWriter writer("mamba");
  writer.Set("tokenizer.ggml.model", "rwkv").AddTensor("a", {256}, 23, std::string(136, '\0'));
  const ModelSummary summary = SummarizeFile(writer);
  EXPECT_THAT(summary.unsupported,
              ElementsAre("1 tensors are stored as IQ4_XS, which is not served",
                          HasSubstr("tokenizer model \"rwkv\""),
                          HasSubstr("architecture \"mamba\" is not served")));
  EXPECT_THAT(ToText(summary), HasSubstr("served          no\n"));
}

TEST(Inspect, CutsLongValuesAndHidesRawBytes) {
  GgufWriter writer("llama");
  writer.Set("a", std::string(500, 'x'))
      .Set("b\n", std::string_view("\x1b[2J"))
      .Set("c", std::vector<int32_t>{1, 2, 3, 4, 5});
  const ModelSummary summary = SummarizeFile(writer);
  EXPECT_THAT(summary.metadata,
              ElementsAre(Pair("a", "\"" + std::string(80, 'x') + "\"..."),
                          Pair("b\\x0a", "\"\\x1b[2J\""),
                          Pair("c", "[5] 1, 2, 3, 4, ..."),
                          Pair("general.architecture", "\"llama\"")));
}

TEST(Inspect, FailsOnlyWhereTheHeaderDoes) {
  EXPECT_EQ(InspectModel("/nonexistent.gguf").status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace inferd
