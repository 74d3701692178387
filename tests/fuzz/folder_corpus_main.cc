// inferd_folder_corpus DIR: writes the seeds of fuzz_safetensors and fuzz_tokenizer_json into
// DIR/safetensors and DIR/tokenizer_json.
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/random_folder.h"
#include "tests/support/tokenizer_json_writer.h"

namespace inferd {
namespace {

using Shape = std::vector<int64_t>;

std::string Bytes(size_t count, char value) { return std::string(count, value); }

// One linear op of 8 outputs and 64 inputs in groups of 32.
std::vector<RawTensor> Int4Op(bool awq) {
  return {{"op.qweight", "I32", awq ? Shape{64, 1} : Shape{8, 8}, Bytes(256, 'W')},
          {"op.qzeros", "I32", {2, 1}, Bytes(8, '\x77')},
          {"op.scales", "F16", {2, 8}, Bytes(32, '\x2c')},
          {"op.g_idx", "I32", {64}, std::string(128, '\0') + [] {
             std::string ones;
             for (int i = 0; i < 32; ++i) {
               ones += std::string("\1\0\0\0", 4);
             }
             return ones;
           }()}};
}

VocabularySpec Vocabulary(TokenizerKind kind) {
  VocabularySpec spec;
  spec.kind = kind;
  spec.tokens = {"<unk>", "<s>", "</s>", "a", "b", "ab", "<|im_end|>"};
  spec.types = {TokenType::kUnknown,
                TokenType::kControl,
                TokenType::kControl,
                TokenType::kNormal,
                TokenType::kNormal,
                TokenType::kNormal,
                TokenType::kControl};
  spec.scores = {0, 0, 0, -1, -2, -3, 0};
  spec.merges = {"a b"};
  spec.bos = 1;
  spec.eos = 2;
  spec.add_bos = true;
  return spec;
}

bool Write(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  file.close();
  return file.good();
}

int WriteCorpus(const std::string& folder) {
  const std::string plain =
      SafetensorsBytes({{"a", "F32", {2, 2}, Bytes(16, 'x')}, {"b", "BF16", {3}, Bytes(6, 'y')}});
  std::string hole = plain;
  hole.replace(hole.find("16,22"), 5, "17,23");
  const std::string safetensors = folder + "/safetensors/";
  bool ok = Write(safetensors + "plain", plain) && Write(safetensors + "refused-hole", hole) &&
            Write(safetensors + "gptq", SafetensorsBytes(Int4Op(false))) &&
            Write(safetensors + "awq", SafetensorsBytes(Int4Op(true))) &&
            Write(safetensors + "refused-wraps",
                  SafetensorsBytes({{"a", "F32", {int64_t{1} << 62, 4}, ""}})) &&
            Write(safetensors + "refused-length", std::string(8, '\xff') + "{}");
  const std::string tokenizer = folder + "/tokenizer_json/";
  for (const TokenizerKind kind : {TokenizerKind::kByteLevelBpe, TokenizerKind::kSentencePiece}) {
    const VocabularySpec spec = Vocabulary(kind);
    const std::string name = kind == TokenizerKind::kByteLevelBpe ? "bytes" : "pieces";
    ok = ok && Write(tokenizer + name,
                     TokenizerJson(spec, {}) + std::string(1, '\0') + TokenizerConfigJson(spec));
  }
  const std::string config =
      R"({"model_type":"llama","num_hidden_layers":1,"hidden_size":64,"intermediate_size":64,)"
      R"("max_position_embeddings":64,"num_attention_heads":2,"vocab_size":7,"rms_norm_eps":1e-5,)"
      R"("rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1,)"
      R"("high_freq_factor":4,"original_max_position_embeddings":64},)"
      R"("quantization_config":{"quant_method":"awq","bits":4,"group_size":64}})";
  ok = ok && Write(tokenizer + "config", config) &&
       Write(tokenizer + "refused-deep", std::string(5000, '['));
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: inferd_folder_corpus DIR\n");
    return 2;
  }
  return inferd::WriteCorpus(argv[1]);
}
