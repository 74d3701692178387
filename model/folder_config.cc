#include "model/folder_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <set>
#include <utility>

#include "model/bounded_json.h"
#include "model/printable.h"

namespace inferd {
namespace {

using model_internal::FindMember;
using nlohmann::json;

constexpr model_internal::JsonLimits kLimits = {
    .bytes_max = size_t{4} << 20, .values_max = 65536, .depth_max = 16};
constexpr int64_t kMistralWindow = 4096;  // of a config that does not say
constexpr int64_t kRotationMax = 1024;

// What changes no number that we compute, or is what the family means anyway.
constexpr std::array<const char*, 18> kIgnored = {"architectures",
                                                  "torch_dtype",
                                                  "dtype",
                                                  "transformers_version",
                                                  "use_cache",
                                                  "initializer_range",
                                                  "pad_token_id",
                                                  "attention_dropout",
                                                  "hidden_dropout",
                                                  "pretraining_tp",
                                                  "_name_or_path",
                                                  "max_window_layers",
                                                  "unsloth_version",
                                                  "unsloth_fixed",
                                                  "attention_bias",  // the tensors say
                                                  "output_attentions",
                                                  "output_hidden_states",
                                                  "return_dict"};

Status Bad(std::string_view key, std::string_view problem) {
  return ErrorF(StatusCode::kInvalidArgument, "config.json: key %s: %s", Quoted(key), problem);
}

Status NotServed(std::string_view key, std::string_view what) {
  return ErrorF(StatusCode::kUnimplemented,
                "config.json: key %s: %s is not served",
                Quoted(key),
                Quoted(what));
}

std::string TextOf(const json& object, const char* key, std::string_view if_absent) {
  const json* value = FindMember(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>()
                                                : std::string(if_absent);
}

StatusOr<double> NumberOf(const json& object, const char* key) {
  const json* value = FindMember(object, key);
  if (value == nullptr || !value->is_number()) {
    return Bad(key, "absent or no number");
  }
  return value->get<double>();
}

class ConfigJsonReader {
 public:
  explicit ConfigJsonReader(const json& root) : root_(root) {}

  StatusOr<FolderConfig> Read(const json& quantisation) {
    RETURN_IF_ERROR(ReadFamily());
    RETURN_IF_ERROR(ReadSizes());
    RETURN_IF_ERROR(ReadWindow());
    RETURN_IF_ERROR(ReadRope());
    RETURN_IF_ERROR(ReadTokens());
    RETURN_IF_ERROR(ReadQuantisation(quantisation));
    RETURN_IF_ERROR(CheckAllUnderstood());
    return std::move(config_);
  }

 private:
  const json* Take(const char* key) {
    understood_.insert(key);
    return FindMember(root_, key);
  }

  std::string_view Keep(std::string text) { return config_.texts.emplace_back(std::move(text)); }
  void Set(const std::string& key, GgufValue value) {
    config_.keys[Keep(std::string(config_.family.architecture) + "." + key)] = std::move(value);
  }
  void SetInt(const std::string& key, int64_t value) {
    Set(key, {.type = GgufType::kI64, .value = value});
  }
  void SetFloat(const std::string& key, double value) {
    Set(key, {.type = GgufType::kF64, .value = value});
  }
  void SetText(const std::string& key, std::string value) {
    Set(key, {.type = GgufType::kString, .value = Keep(std::move(value))});
  }

  // An integer key under its GGUF name; ranges are checked where it is read. Absent is an error
  // unless `optional`.
  Status CopyInt(const char* key, const char* to, bool optional = false) {
    const json* value = Take(key);
    if (value == nullptr) {
      return optional ? OkStatus() : Bad(key, "absent");
    }
    if (!value->is_number_integer()) {
      return Bad(key, "no integer");
    }
    SetInt(to, value->get<int64_t>());
    return OkStatus();
  }

  Status ReadFamily() {
    const json* type = Take("model_type");
    const std::string name = type != nullptr && type->is_string() ? type->get<std::string>() : "";
    if (name != "llama" && name != "mistral" && name != "qwen2" && name != "qwen3") {
      return NotServed("model_type", name);
    }
    mistral_ = name == "mistral";
    config_.family = *FindFamily(mistral_ ? "llama" : name);
    // The permutation of q and k is the GGUF converter's; here rope turns halves.
    config_.family.rope = RopeKind::kHalves;
    config_.keys[Keep("general.architecture")] = {
        .type = GgufType::kString, .value = Keep(std::string(config_.family.architecture))};
    return OkStatus();
  }

  Status ReadSizes() {
    RETURN_IF_ERROR(CopyInt("num_hidden_layers", "block_count"));
    RETURN_IF_ERROR(CopyInt("hidden_size", "embedding_length"));
    RETURN_IF_ERROR(CopyInt("intermediate_size", "feed_forward_length"));
    RETURN_IF_ERROR(CopyInt("max_position_embeddings", "context_length"));
    RETURN_IF_ERROR(CopyInt("num_attention_heads", "attention.head_count"));
    RETURN_IF_ERROR(CopyInt("num_key_value_heads", "attention.head_count_kv", true));
    RETURN_IF_ERROR(CopyInt("head_dim", "attention.key_length", true));
    RETURN_IF_ERROR(CopyInt("head_dim", "attention.value_length", true));
    RETURN_IF_ERROR(CopyInt("vocab_size", "vocab_size"));
    const json* vocab_size = Take("vocab_size");
    config_.vocab_size = vocab_size->get<int64_t>();
    if (config_.vocab_size < 1 || config_.vocab_size > 1 << 22) {
      return Bad("vocab_size", "not from 1 to 4194304");
    }
    understood_.insert("rms_norm_eps");
    ASSIGN_OR_RETURN(const double epsilon, NumberOf(root_, "rms_norm_eps"));
    SetFloat("attention.layer_norm_rms_epsilon", epsilon);
    Take("hidden_act");
    if (const std::string act = TextOf(root_, "hidden_act", "silu"); act != "silu") {
      return NotServed("hidden_act", act);
    }
    const json* tied = Take("tie_word_embeddings");
    config_.tied_embeddings = tied != nullptr && tied->is_boolean() && tied->get<bool>();
    return OkStatus();
  }

  Status ReadWindow() {
    const json* window = Take("sliding_window");
    const bool absent = !root_.contains("sliding_window");
    const json* used = Take("use_sliding_window");
    if (used != nullptr && used->is_boolean() && used->get<bool>()) {
      return NotServed("use_sliding_window", "a window in some layers");
    }
    if (const json* types = Take("layer_types");
        types != nullptr && types->is_array() && !mistral_) {
      for (const json& type : *types) {
        if (type != "full_attention") {
          return NotServed("layer_types", "another than full_attention");
        }
      }
    }
    if (!mistral_) {
      return OkStatus();  // Qwen's files name a window that they do not use
    }
    if (window != nullptr && !window->is_number_integer()) {
      return Bad("sliding_window", "no integer");
    }
    if (window != nullptr || absent) {
      SetInt("attention.sliding_window", absent ? kMistralWindow : window->get<int64_t>());
    }
    return OkStatus();
  }

  Status ReadRope() {
    const json* parameters = Take("rope_parameters");
    const json* scaling = Take("rope_scaling");
    const json none = json::object();
    const json& rope = parameters != nullptr ? *parameters : scaling != nullptr ? *scaling : none;
    const json* theta = Take("rope_theta");
    if (theta == nullptr) {
      theta = FindMember(rope, "rope_theta");
    }
    if (theta != nullptr && !theta->is_number()) {
      return Bad("rope_theta", "no number");
    }
    const double base = theta == nullptr ? 10000.0 : theta->get<double>();
    SetFloat("rope.freq_base", base);
    const std::string type = TextOf(rope, "rope_type", TextOf(rope, "type", "default"));
    if (type == "default") {
      return OkStatus();
    }
    if (type == "linear") {
      ASSIGN_OR_RETURN(const double factor, NumberOf(rope, "factor"));
      SetText("rope.scaling.type", "linear");
      SetFloat("rope.scaling.factor", factor);
      return OkStatus();
    }
    if (type == "llama3" && config_.family.frequency_factors) {
      return ReadLlama3Rope(rope, base);
    }
    return NotServed("rope_scaling", type);
  }

  // Llama 3.1's scaling as divisors of the frequencies: long waves by `factor`, short ones by 1,
  // those between by a blend of both rates.
  Status ReadLlama3Rope(const json& rope, double base) {
    ASSIGN_OR_RETURN(const double factor, NumberOf(rope, "factor"));
    ASSIGN_OR_RETURN(const double low, NumberOf(rope, "low_freq_factor"));
    ASSIGN_OR_RETURN(const double high, NumberOf(rope, "high_freq_factor"));
    ASSIGN_OR_RETURN(const double original, NumberOf(rope, "original_max_position_embeddings"));
    if (!(factor > 0 && low > 0 && high > low && original > 0 && base >= 1)) {
      return Bad("rope_scaling", "factors that are not positive and in order");
    }
    ASSIGN_OR_RETURN(const int64_t rotation, HeadDim());
    for (int64_t i = 0; i < rotation / 2; ++i) {
      const double frequency =
          std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(rotation));
      const double turns = original * frequency / (2 * std::numbers::pi);  // in the old context
      const double blend = std::clamp((turns - low) / (high - low), 0.0, 1.0);
      config_.rope_factors.push_back(static_cast<float>(1 / ((1 - blend) / factor + blend)));
    }
    return OkStatus();
  }

  StatusOr<int64_t> HeadDim() {
    const json* given = FindMember(root_, "head_dim");
    ASSIGN_OR_RETURN(const double width, NumberOf(root_, "hidden_size"));
    ASSIGN_OR_RETURN(const double heads, NumberOf(root_, "num_attention_heads"));
    double size = given != nullptr && given->is_number() ? given->get<double>() : 0;
    if (size == 0 && heads >= 1) {
      size = std::floor(width / heads);
    }
    if (!(size >= 2 && size <= kRotationMax)) {
      return Bad("head_dim", "not from 2 to 1024");
    }
    return static_cast<int64_t>(size);
  }

  Status ReadTokens() {
    const std::pair<const char*, std::optional<int64_t>*> ids[] = {
        {"bos_token_id", &config_.bos_id}, {"eos_token_id", &config_.eos_id}};
    for (const auto& [key, id] : ids) {
      const json* value = Take(key);
      if (value != nullptr && value->is_array() && !value->empty()) {
        value = &value->front();  // the end of a text; ends of turns are found by their text
      }
      if (value != nullptr && value->is_number_integer()) {
        *id = value->get<int64_t>();
      }
    }
    return OkStatus();
  }

  Status ReadQuantisation(const json& beside) {
    const json* own = Take("quantization_config");
    if (own == nullptr && beside.empty()) {
      return OkStatus();
    }
    const json& from = own != nullptr ? *own : beside;
    FolderQuantisation quantisation;
    const std::string method = TextOf(from, "quant_method", own != nullptr ? "" : "gptq");
    if (method == "gptq") {
      const std::string format = TextOf(from, "checkpoint_format", "gptq");
      if (format != "gptq" && format != "gptq_v2") {
        return NotServed("quantization_config.checkpoint_format", format);
      }
      quantisation.layout = format == "gptq" ? Int4Layout::kGptq : Int4Layout::kGptqV2;
    } else if (method == "awq") {
      if (const std::string version = TextOf(from, "version", "gemm");
          version != "gemm" && version != "GEMM") {
        return NotServed("quantization_config.version", version);
      }
      quantisation.layout = Int4Layout::kAwq;
    } else {
      return NotServed("quantization_config.quant_method", method);
    }
    const char* bits_key = from.contains("w_bit") ? "w_bit" : "bits";
    ASSIGN_OR_RETURN(const double bits, NumberOf(from, bits_key));
    if (bits != 4) {
      return NotServed("quantization_config.bits", "a width other than 4");
    }
    const char* group_key = from.contains("q_group_size") ? "q_group_size" : "group_size";
    ASSIGN_OR_RETURN(const double group, NumberOf(from, group_key));
    if (group != -1 && !(group >= 32 && group <= 1 << 20)) {
      return NotServed("quantization_config.group_size", "a size below 32");
    }
    quantisation.group = static_cast<int64_t>(group);
    config_.quantisation = quantisation;
    return OkStatus();
  }

  Status CheckAllUnderstood() {
    understood_.insert(kIgnored.begin(), kIgnored.end());
    for (const auto& [key, value] : root_.items()) {
      if (!understood_.contains(key) && !value.is_null() && value != false) {
        return ErrorF(
            StatusCode::kUnimplemented, "config.json: key %s is not understood", Quoted(key));
      }
    }
    return OkStatus();
  }

  const json& root_;
  FolderConfig config_;
  std::set<std::string, std::less<>> understood_;
  bool mistral_ = false;
};

}  // namespace

StatusOr<FolderConfig> ReadFolderConfig(std::string_view config, std::string_view quantize_config) {
  ASSIGN_OR_RETURN(const json root,
                   model_internal::ParseJsonObject("config.json", config, kLimits));
  json quantisation = json::object();
  if (!quantize_config.empty()) {
    ASSIGN_OR_RETURN(
        quantisation,
        model_internal::ParseJsonObject("quantize_config.json", quantize_config, kLimits));
  }
  return ConfigJsonReader(root).Read(quantisation);
}

}  // namespace inferd
