// inferd_gguf_corpus DIR: writes the seeds of the GGUF fuzzer: a minute model of each family, a
// file with every storage format and every value type, and files that a reader must refuse.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "tests/support/random_model.h"

namespace inferd {
namespace {

constexpr int32_t kTokens = 6;

std::string U64(uint64_t value) {
  std::string bytes(sizeof(value), '\0');
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

GgufWriter MinuteModel(std::string_view family) {
  RandomModelSpec spec = TinyModel(family, 5, QuantFormat::kF32);
  spec.n_layers = family == "gemma2" || family == "gemma3" ? 2 : 1;
  spec.d_model = 8;
  spec.d_ff = 8;
  spec.n_heads = 2;
  spec.n_kv_heads = 1;
  spec.head_dim = 4;
  spec.rotary_dim = family == "phi3" ? 2 : 4;
  spec.vocab_size = kTokens;
  GgufWriter writer = RandomModel(spec);
  writer.Set("tokenizer.ggml.model", family == "llama" ? "gpt2" : "llama")
      .Set("tokenizer.ggml.tokens",
           std::vector<std::string>{"<unk>", "<s>", "</s>", "a", "b", "ab"})
      .Set("tokenizer.ggml.scores", std::vector<float>{0, 0, 0, -1, -2, -3})
      .Set("tokenizer.ggml.token_type", std::vector<int32_t>{2, 3, 3, 1, 1, 1})
      .Set("tokenizer.ggml.bos_token_id", 1u)
      .Set("tokenizer.ggml.eos_token_id", 2u);
  if (family == "llama") {
    writer.Set("tokenizer.ggml.pre", "llama-bpe")
        .Set("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
  }
  return writer;
}

GgufWriter EveryFormat() {
  GgufWriter writer("formats");
  for (int i = 0; i < kNumQuantFormats; ++i) {
    const auto format = static_cast<QuantFormat>(i);
    const int32_t cols = Info(format).block_values == 1 ? 8 : Info(format).block_values;
    writer.AddRandom(Info(format).name, 1, cols, format, {.seed = 9});
  }
  return writer;
}

GgufWriter EveryValueType() {
  GgufWriter writer("values");
  const std::string zeros(8, '\0');
  constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8};
  for (uint32_t type = 0; type <= static_cast<uint32_t>(GgufType::kF64); ++type) {
    if (type == static_cast<uint32_t>(GgufType::kArray)) {
      continue;
    }
    writer.SetRaw("k" + std::to_string(type),
                  static_cast<GgufType>(type),
                  std::string_view(zeros).substr(0, kSizes[type]));
    std::string array(1, static_cast<char>(type));
    array += std::string(3, '\0') + U64(2) + zeros.substr(0, kSizes[type]) +
             zeros.substr(0, kSizes[type]);
    writer.SetRaw("a" + std::to_string(type), GgufType::kArray, array);
  }
  return writer;
}

struct Seed {
  std::string name;
  std::string bytes;
};

// One mistake each; the reader's history says which are worth keeping.
std::vector<Seed> Refused() {
  constexpr uint64_t kHuge = uint64_t{1} << 62;
  std::vector<Seed> seeds;
  const auto add = [&seeds](const char* name, const GgufWriter& writer) {
    seeds.push_back({std::string("refused-") + name, writer.Bytes()});
  };
  add("string-wraps", GgufWriter("x").SetRaw("k", GgufType::kString, U64(~uint64_t{0})));
  add("array-wraps",
      GgufWriter("x").SetRaw(
          "k", GgufType::kArray, std::string("\x0a\0\0\0", 4) + U64(kHuge) + U64(0)));
  add("array-of-arrays",
      GgufWriter("x").SetRaw(
          "k", GgufType::kArray, std::string("\x09\0\0\0", 4) + U64(1) + U64(0)));
  add("dims-wrap", GgufWriter("x").AddTensor("t", {kHuge, 8}, 0, std::string(32, 'x')));
  add("dim-zero", GgufWriter("x").AddTensor("t", {8, 0}, 0, std::string(32, 'x')));
  add("out-of-file", GgufWriter("x").AddTensor("t", {1 << 20}, 8, std::string(32, 'x')));
  add("overlap",
      GgufWriter("x")
          .AddTensor("a", {64}, 0, std::string(32, 'x'))
          .AddTensor("b", {64}, 0, std::string(256, 'x')));
  add("part-of-block", GgufWriter("x").AddTensor("t", {48}, 12, std::string(160, 'x')));
  add("alignment", GgufWriter("x").Set("general.alignment", 3u));
  add("token-id", MinuteModel("mistral").Set("tokenizer.ggml.eos_token_id", 6u));
  add("scores-short", MinuteModel("mistral").Set("tokenizer.ggml.scores", std::vector<float>{1}));
  add("tokens-of-other-type",
      MinuteModel("mistral").Set("tokenizer.ggml.tokens", std::vector<int32_t>{1, 2}));
  add("no-heads", MinuteModel("qwen3").Set("qwen3.attention.head_count", 0u));
  add("odd-rotation", MinuteModel("qwen3").Set("qwen3.rope.dimension_count", 3u));
  add("many-layers", MinuteModel("qwen3").Set("qwen3.block_count", 1024u));
  add("wide", MinuteModel("qwen3").Set("qwen3.embedding_length", 1u << 20));
  return seeds;
}

int WriteCorpus(const std::string& folder) {
  std::vector<Seed> seeds = Refused();
  for (const std::string_view family : RandomModelFamilies()) {
    seeds.push_back({"model-" + std::string(family), MinuteModel(family).Bytes()});
  }
  seeds.push_back({"formats", EveryFormat().Bytes()});
  seeds.push_back({"values", EveryValueType().Bytes()});
  for (const Seed& seed : seeds) {
    const std::string path = folder + "/" + seed.name + ".gguf";
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (file == nullptr ||
        std::fwrite(seed.bytes.data(), 1, seed.bytes.size(), file) != seed.bytes.size() ||
        std::fclose(file) != 0) {
      std::fprintf(stderr, "%s: cannot write\n", path.c_str());
      return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: inferd_gguf_corpus DIR\n");
    return 2;
  }
  return inferd::WriteCorpus(argv[1]);
}
