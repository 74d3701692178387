#include "tests/support/random_folder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/half.h"
#include "base/random.h"
#include "model/vocabulary.h"
#include "tests/support/random_vocabulary.h"
#include "tests/support/tokenizer_json_writer.h"

namespace inferd {
namespace {

using nlohmann::json;

constexpr int64_t kLayers = 2;
constexpr int64_t kWidth = 128;
constexpr int64_t kHeads = 4;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kHeadDim = 32;
constexpr int64_t kFfn = 256;
constexpr int32_t kTokens = 331;
constexpr int64_t kVocabulary = 340;
constexpr double kTheta = 10000.0;
constexpr const char* kSmolPattern[] = {
    R"(\p{N})", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"};

template <typename T>
std::string BytesOf(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

Status WriteText(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  return file.good() ? OkStatus() : ErrorF(StatusCode::kUnavailable, "cannot write %s", path);
}

class FolderMaker {
 public:
  explicit FolderMaker(const RandomFolderSpec& spec)
      : spec_(spec), random_(spec.seed), llama_(spec.model_type == "llama" || mistral()) {}

  StatusOr<GgufWriter> Write(const std::string& folder) {
    gguf_ = GgufWriter(llama_ ? "llama" : spec_.model_type);
    SetKeys();
    AddTensors();
    RETURN_IF_ERROR(WriteText(folder + "/config.json", Config().dump()));
    RETURN_IF_ERROR(WriteTokenizer(folder));
    RETURN_IF_ERROR(WriteWeights(folder));
    return std::move(gguf_);
  }

 private:
  bool mistral() const { return spec_.model_type == "mistral"; }

  void SetKeys() {
    const std::string prefix = (llama_ ? "llama" : spec_.model_type) + ".";
    const auto set = [&](const char* key, int64_t value) {
      gguf_.Set(prefix + key, static_cast<uint32_t>(value));
    };
    set("block_count", kLayers);
    set("context_length", 512);
    set("embedding_length", kWidth);
    set("feed_forward_length", kFfn);
    set("attention.head_count", kHeads);
    set("attention.head_count_kv", kKvHeads);
    set("attention.key_length", kHeadDim);
    set("attention.value_length", kHeadDim);
    gguf_.Set(prefix + "attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_.Set(prefix + "rope.freq_base", static_cast<float>(kTheta));
    if (mistral()) {
      set("attention.sliding_window", 32);
    }
    SetVocabulary(mistral() ? RandomVocabulary::kSentencePiece : RandomVocabulary::kBytePairs,
                  static_cast<int32_t>(kVocabulary),
                  gguf_);
  }

  json Config() const {
    json config = {{"model_type", spec_.model_type},
                   {"architectures", {"RandomForCausalLM"}},
                   {"num_hidden_layers", kLayers},
                   {"max_position_embeddings", 512},
                   {"hidden_size", kWidth},
                   {"intermediate_size", kFfn},
                   {"num_attention_heads", kHeads},
                   {"num_key_value_heads", kKvHeads},
                   {"head_dim", kHeadDim},
                   {"rms_norm_eps", 1e-5},
                   {"rope_theta", kTheta},
                   {"vocab_size", kVocabulary},
                   {"hidden_act", "silu"},
                   {"tie_word_embeddings", spec_.tied},
                   {"sliding_window", mistral() ? json(32) : json()},
                   {"torch_dtype", "float16"}};
    if (spec_.llama3_rope) {
      config["rope_scaling"] = {{"rope_type", "llama3"},
                                {"factor", 8.0},
                                {"low_freq_factor", 1.0},
                                {"high_freq_factor", 4.0},
                                {"original_max_position_embeddings", 64}};
    }
    if (spec_.quantised) {
      const bool awq = spec_.layout == Int4Layout::kAwq;
      config["quantization_config"] = {{"quant_method", awq ? "awq" : "gptq"},
                                       {"bits", 4},
                                       {"group_size", spec_.group},
                                       {"desc_act", spec_.act_order}};
      if (spec_.layout == Int4Layout::kGptqV2) {
        config["quantization_config"]["checkpoint_format"] = "gptq_v2";
      }
    }
    return config;
  }

  Status WriteTokenizer(const std::string& folder) {
    const std::string bytes = gguf_.Bytes();
    ASSIGN_OR_RETURN(const Gguf parsed, Gguf::Parse(std::as_bytes(std::span(bytes))));
    ASSIGN_OR_RETURN(const VocabularySpec vocabulary, ReadVocabulary(parsed));
    const bool bytes_level = vocabulary.kind == TokenizerKind::kByteLevelBpe;
    RETURN_IF_ERROR(WriteText(
        folder + "/tokenizer.json",
        TokenizerJson(
            vocabulary,
            bytes_level ? std::vector<std::string>(std::begin(kSmolPattern), std::end(kSmolPattern))
                        : std::vector<std::string>())));
    return WriteText(folder + "/tokenizer_config.json", TokenizerConfigJson(vocabulary));
  }

  Status WriteWeights(const std::string& folder) {
    if (spec_.shards == 1) {
      return WriteText(folder + "/model.safetensors", SafetensorsBytes(tensors_));
    }
    std::vector<std::vector<RawTensor>> shards(static_cast<size_t>(spec_.shards));
    json map = json::object();
    for (size_t i = 0; i < tensors_.size(); ++i) {
      const size_t shard = i % shards.size();
      map[tensors_[i].name] = "part-" + std::to_string(shard) + ".safetensors";
      shards[shard].push_back(tensors_[i]);
    }
    for (size_t i = 0; i < shards.size(); ++i) {
      RETURN_IF_ERROR(WriteText(folder + "/part-" + std::to_string(i) + ".safetensors",
                                SafetensorsBytes(shards[i])));
    }
    return WriteText(folder + "/model.safetensors.index.json", json{{"weight_map", map}}.dump());
  }

  void AddTensors() {
    Plain("model.embed_tokens.weight", "token_embd.weight", kVocabulary, kWidth, 0.2, 0);
    Plain("model.norm.weight", "output_norm.weight", 1, kWidth, 0.1, 1);
    if (!spec_.tied) {
      Plain("lm_head.weight", "output.weight", kVocabulary, kWidth, 0.2, 0);
    }
    if (spec_.llama3_rope) {
      AddLlama3Factors();
    }
    for (int64_t i = 0; i < kLayers; ++i) {
      AddLayer("model.layers." + std::to_string(i) + ".", "blk." + std::to_string(i) + ".");
    }
  }

  void AddLayer(const std::string& from, const std::string& to) {
    const int64_t q_rows = kHeads * kHeadDim;
    const int64_t kv_rows = kKvHeads * kHeadDim;
    Plain(from + "input_layernorm.weight", to + "attn_norm.weight", 1, kWidth, 0.1, 1);
    Plain(from + "post_attention_layernorm.weight", to + "ffn_norm.weight", 1, kWidth, 0.1, 1);
    if (spec_.model_type == "qwen3") {
      Plain(from + "self_attn.q_norm.weight", to + "attn_q_norm.weight", 1, kHeadDim, 0.1, 1);
      Plain(from + "self_attn.k_norm.weight", to + "attn_k_norm.weight", 1, kHeadDim, 0.1, 1);
    }
    if (spec_.model_type == "qwen2") {
      Plain(from + "self_attn.q_proj.bias", to + "attn_q.bias", 1, q_rows, 0.2, 0);
      Plain(from + "self_attn.k_proj.bias", to + "attn_k.bias", 1, kv_rows, 0.2, 0);
      Plain(from + "self_attn.v_proj.bias", to + "attn_v.bias", 1, kv_rows, 0.2, 0);
    }
    // Ops with the same input were quantised in the same order.
    group_index_ = GroupIndex(kWidth);
    Linear(from + "self_attn.q_proj", to + "attn_q.weight", q_rows, kWidth, llama_ ? kHeads : 0);
    Linear(from + "self_attn.k_proj", to + "attn_k.weight", kv_rows, kWidth, llama_ ? kKvHeads : 0);
    Linear(from + "self_attn.v_proj", to + "attn_v.weight", kv_rows, kWidth, 0);
    group_index_ = GroupIndex(q_rows);
    Linear(from + "self_attn.o_proj", to + "attn_output.weight", kWidth, q_rows, 0);
    group_index_ = GroupIndex(kWidth);
    Linear(from + "mlp.gate_proj", to + "ffn_gate.weight", kFfn, kWidth, 0);
    Linear(from + "mlp.up_proj", to + "ffn_up.weight", kFfn, kWidth, 0);
    group_index_ = GroupIndex(kFfn);
    Linear(from + "mlp.down_proj", to + "ffn_down.weight", kWidth, kFfn, 0);
  }

  // The divisors as the published code has them, by wavelength.
  void AddLlama3Factors() {
    std::vector<float> factors;
    for (int64_t i = 0; i < kHeadDim / 2; ++i) {
      const double frequency = 1 / std::pow(kTheta, 2.0 * static_cast<double>(i) / kHeadDim);
      const double wave = 2 * std::numbers::pi / frequency;
      double scaled = frequency;
      if (wave > 64.0 / 1.0) {
        scaled = frequency / 8.0;
      } else if (wave >= 64.0 / 4.0) {
        const double smooth = (64.0 / wave - 1.0) / (4.0 - 1.0);
        scaled = (1 - smooth) * frequency / 8.0 + smooth * frequency;
      }
      factors.push_back(static_cast<float>(frequency / scaled));
    }
    gguf_.AddF32("rope_freqs.weight", 1, kHeadDim / 2, factors);
  }

  // BF16 in the folder, the same numbers as F32 in the GGUF file.
  void Plain(const std::string& from,
             const std::string& to,
             int64_t rows,
             int64_t cols,
             double stddev,
             double mean,
             int64_t permuted_heads = 0) {
    std::vector<uint16_t> halves;
    std::vector<float> values;
    for (int64_t i = 0; i < rows * cols; ++i) {
      // About normal.
      const double unit = random_.Unit() + random_.Unit() + random_.Unit() - 1.5;
      halves.push_back(FloatToBfloat(static_cast<float>(mean + 2 * stddev * unit)));
      values.push_back(BfloatToFloat(halves.back()));
    }
    const bool vector = rows == 1;
    tensors_.push_back({from,
                        "BF16",
                        vector ? std::vector<int64_t>{cols} : std::vector<int64_t>{rows, cols},
                        BytesOf(halves)});
    AddToGguf(to, rows, cols, values, permuted_heads);
  }

  // Row (head, half, pair) becomes (head, pair, half): what the converter does to llama's q and k.
  void AddToGguf(const std::string& to,
                 int64_t rows,
                 int64_t cols,
                 const std::vector<float>& values,
                 int64_t permuted_heads) {
    std::vector<float> out = values;
    for (int64_t row = 0; permuted_heads > 0 && row < rows; ++row) {
      const int64_t head = row / kHeadDim;
      const int64_t half = row % kHeadDim / (kHeadDim / 2);
      const int64_t pair = row % (kHeadDim / 2);
      const int64_t target = head * kHeadDim + 2 * pair + half;
      std::copy_n(values.begin() + row * cols, cols, out.begin() + target * cols);
    }
    gguf_.AddF32(to, rows, cols, out);
  }

  int64_t GroupOf(int64_t cols) const { return spec_.group == -1 ? cols : spec_.group; }

  // The group of each input: runs, or the same shuffled.
  std::vector<int32_t> GroupIndex(int64_t cols) {
    std::vector<int32_t> index(static_cast<size_t>(cols));
    for (int64_t i = 0; i < cols; ++i) {
      index[static_cast<size_t>(i)] = static_cast<int32_t>(i / GroupOf(cols));
    }
    for (size_t i = index.size(); spec_.act_order && i > 1; --i) {
      std::swap(index[i - 1], index[random_.Below(i)]);
    }
    return index;
  }

  void Linear(const std::string& from,
              const std::string& to,
              int64_t rows,
              int64_t cols,
              int64_t permuted_heads) {
    if (!spec_.quantised) {
      Plain(from + ".weight",
            to,
            rows,
            cols,
            1 / std::sqrt(static_cast<double>(cols)),
            0,
            permuted_heads);
      return;
    }
    const int64_t groups = cols / GroupOf(cols);
    std::vector<uint16_t> scales;
    std::vector<uint32_t> zeros;
    for (int64_t i = 0; i < groups * rows; ++i) {
      const double scale = (0.1 + 0.2 * random_.Unit()) / std::sqrt(static_cast<double>(cols));
      scales.push_back(FloatToHalf(static_cast<float>(scale)));
      zeros.push_back(spec_.symmetric ? 8u : static_cast<uint32_t>(1 + random_.Below(15)));
    }
    std::vector<uint32_t> codes(static_cast<size_t>(rows * cols));
    std::vector<float> values(codes.size());
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t col = 0; col < cols; ++col) {
        const auto at = static_cast<size_t>(row * cols + col);
        const auto group = static_cast<size_t>(group_index_[static_cast<size_t>(col)] * rows + row);
        codes[at] = static_cast<uint32_t>(random_.Below(16));
        values[at] = HalfToFloat(scales[group]) *
                     (static_cast<float>(codes[at]) - static_cast<float>(zeros[group]));
      }
    }
    AddToGguf(to, rows, cols, values, permuted_heads);
    AddPacked(from, rows, cols, codes, zeros, scales);
  }

  // Eight codes along the outputs to a word: AWQ's order, or straight.
  static uint32_t WordOf(const uint32_t* codes, bool awq) {
    constexpr int kOutputOfNibble[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    uint32_t word = 0;
    for (int nibble = 0; nibble < 8; ++nibble) {
      word |= codes[awq ? kOutputOfNibble[nibble] : nibble] << (4 * nibble);
    }
    return word;
  }

  void AddPacked(const std::string& name,
                 int64_t rows,
                 int64_t cols,
                 const std::vector<uint32_t>& codes,
                 std::vector<uint32_t> zeros,
                 const std::vector<uint16_t>& scales) {
    const bool awq = spec_.layout == Int4Layout::kAwq;
    const int64_t groups = cols / GroupOf(cols);
    const auto code = [&](int64_t row, int64_t col) {
      return codes[static_cast<size_t>(row * cols + col)];
    };
    std::vector<uint32_t> words;
    if (awq) {
      for (int64_t col = 0; col < cols; ++col) {
        for (int64_t row = 0; row < rows; row += 8) {
          uint32_t eight[8];
          for (int64_t i = 0; i < 8; ++i) {
            eight[i] = code(row + i, col);
          }
          words.push_back(WordOf(eight, true));
        }
      }
    } else {
      for (int64_t col = 0; col < cols; col += 8) {
        for (int64_t row = 0; row < rows; ++row) {
          uint32_t word = 0;
          for (int64_t i = 0; i < 8; ++i) {
            word |= code(row, col + i) << (4 * i);
          }
          words.push_back(word);
        }
      }
    }
    if (spec_.layout == Int4Layout::kGptq) {
      for (uint32_t& zero : zeros) {
        --zero;
      }
    }
    std::vector<uint32_t> zero_words;
    for (size_t i = 0; i < zeros.size(); i += 8) {
      zero_words.push_back(WordOf(zeros.data() + i, awq));
    }
    using Shape = std::vector<int64_t>;
    tensors_.push_back({name + ".qweight",
                        "I32",
                        awq ? Shape{cols, rows / 8} : Shape{cols / 8, rows},
                        BytesOf(words)});
    tensors_.push_back({name + ".qzeros", "I32", {groups, rows / 8}, BytesOf(zero_words)});
    tensors_.push_back({name + ".scales", "F16", {groups, rows}, BytesOf(scales)});
    if (!awq) {
      tensors_.push_back({name + ".g_idx", "I32", {cols}, BytesOf(group_index_)});
      if (name.ends_with("down_proj")) {  // as some quantisers do
        tensors_.push_back(
            {name + ".bias", "F16", {rows}, std::string(static_cast<size_t>(2 * rows), '\0')});
      }
    }
  }

  const RandomFolderSpec& spec_;
  SplitMix64 random_;
  const bool llama_;
  GgufWriter gguf_;
  std::vector<RawTensor> tensors_;
  std::vector<int32_t> group_index_;
};

}  // namespace

std::string SafetensorsBytes(const std::vector<RawTensor>& tensors) {
  json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const RawTensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.type},
                           {"shape", tensor.shape},
                           {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + text + data;
}

StatusOr<GgufWriter> WriteRandomFolder(const RandomFolderSpec& spec, const std::string& folder) {
  return FolderMaker(spec).Write(folder);
}

}  // namespace inferd
