#include "model/model_folder.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <utility>

#include "model/bounded_json.h"
#include "model/printable.h"
#include "model/tokenizer_json.h"

namespace inferd {
namespace {

constexpr uint64_t kTextBytesMax = ModelFolder::kIndexBytesMax;
constexpr model_internal::JsonLimits kIndexLimits = {
    .bytes_max = size_t{64} << 20, .values_max = 1 << 20, .depth_max = 4};
constexpr size_t kFilesMax = 1024;
constexpr const char* kIndexName = ModelFolder::kIndexName;
constexpr const char* kOnlyWeights = "model.safetensors";  // of a folder without an index
constexpr std::string_view kWeightsSuffix = ".safetensors";
constexpr std::array<std::string_view, 5> kTexts = {"config.json",
                                                    "quantize_config.json",
                                                    "tokenizer.json",
                                                    "tokenizer_config.json",
                                                    "chat_template.jinja"};
constexpr std::string_view kInt4Suffix = ".qweight";
// The types of tensors by GGUF's numbers.
constexpr uint32_t kGgmlF32 = 0;
constexpr uint32_t kGgmlF16 = 1;
constexpr uint32_t kGgmlBf16 = 30;
constexpr size_t kAlignment = 8;

// Roles of a layer, in both files' words. A bias or a weight's suffix follows.
struct Role {
  std::string_view folder;
  std::string_view gguf;
};
constexpr std::array<Role, 11> kLayerRoles = {{{"input_layernorm", "attn_norm"},
                                               {"post_attention_layernorm", "ffn_norm"},
                                               {"self_attn.q_proj", "attn_q"},
                                               {"self_attn.k_proj", "attn_k"},
                                               {"self_attn.v_proj", "attn_v"},
                                               {"self_attn.o_proj", "attn_output"},
                                               {"self_attn.q_norm", "attn_q_norm"},
                                               {"self_attn.k_norm", "attn_k_norm"},
                                               {"mlp.gate_proj", "ffn_gate"},
                                               {"mlp.up_proj", "ffn_up"},
                                               {"mlp.down_proj", "ffn_down"}}};
constexpr std::array<Role, 3> kModelRoles = {
    {{"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}}};

// "model.layers.3.mlp.up_proj" to "blk.3.ffn_up"; empty if it is no role.
std::string GgufRole(std::string_view name) {
  for (const Role& role : kModelRoles) {
    if (role.folder == name) {
      return std::string(role.gguf);
    }
  }
  constexpr std::string_view kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) {
    return {};
  }
  name.remove_prefix(kLayers.size());
  uint32_t layer = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  const auto digits = static_cast<size_t>(end - name.data());
  if (error != std::errc() || layer > 65535 || digits == name.size() || name[digits] != '.' ||
      name.substr(0, digits) != std::to_string(layer)) {
    return {};
  }
  name.remove_prefix(digits + 1);
  for (const Role& role : kLayerRoles) {
    if (role.folder == name) {
      return "blk." + std::to_string(layer) + "." + std::string(role.gguf);
    }
  }
  return {};
}

// Quantisers store a bias of zeros where a layer has none. Those of q, k and v stay: a family says
// whether it has them.
bool IsEmptyBias(std::string_view role, std::string_view suffix, std::span<const std::byte> data) {
  const bool projection =
      role.ends_with("attn_q") || role.ends_with("attn_k") || role.ends_with("attn_v");
  return suffix == ".bias" && !projection &&
         std::all_of(data.begin(), data.end(), [](std::byte b) { return b == std::byte{0}; });
}

Status NotUnderstood(std::string_view name) {
  return ErrorF(StatusCode::kUnimplemented, "tensor %s is not understood", Quoted(name));
}

// The files that an index names, sorted. A name with a folder in it is refused: it could lead out.
StatusOr<std::set<std::string>> NamesOfIndex(std::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json index,
                   model_internal::ParseJsonObject(kIndexName, text, kIndexLimits));
  const nlohmann::json* map = model_internal::FindMember(index, "weight_map");
  std::set<std::string> names;
  if (map != nullptr && map->is_object()) {
    for (const auto& [tensor, file] : map->items()) {
      const std::string name = file.is_string() ? file.get<std::string>() : "";
      if (!name.ends_with(kWeightsSuffix) || name.find('/') != std::string::npos ||
          name.find('\0') != std::string::npos) {
        return ErrorF(StatusCode::kInvalidArgument,
                      "%s: tensor %s lies in no file of the folder",
                      kIndexName,
                      Quoted(tensor));
      }
      names.insert(name);
    }
  }
  if (names.empty() || names.size() > kFilesMax) {
    return ErrorF(StatusCode::kInvalidArgument, "%s: it names no files, or too many", kIndexName);
  }
  return names;
}

Status CheckTextSize(std::string_view name, uint64_t size_bytes) {
  return size_bytes <= kTextBytesMax ? OkStatus()
                                     : ErrorF(StatusCode::kResourceExhausted,
                                              "%s: %d bytes, at most %d are read here",
                                              name,
                                              size_bytes,
                                              kTextBytesMax);
}

std::string_view TextOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

StatusOr<std::unique_ptr<ModelFolder>> ModelFolder::Open(const std::string& path) {
  return Make([&path](const std::string& name) -> StatusOr<MemoryPages> {
    const std::string file_path = path + "/" + name;
    if (name.ends_with(kWeightsSuffix)) {
      return MappedFile::Open(file_path);
    }
    ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(file_path));
    RETURN_IF_ERROR(CheckTextSize(file_path, file.size_bytes()));
    ASSIGN_OR_RETURN(PrivateMemory text, PrivateMemory::Allocate(file.size_bytes()));
    RETURN_IF_ERROR(file.Read(0, text.writable()));
    return text;
  });
}

StatusOr<std::unique_ptr<ModelFolder>> ModelFolder::FromBytes(std::vector<ModelBytes> files) {
  return Make([&files](const std::string& name) -> StatusOr<MemoryPages> {
    for (ModelBytes& file : files) {
      if (file.name == name) {
        return std::move(file.pages);
      }
    }
    return ErrorF(StatusCode::kNotFound, "%s: the folder has no such file", name);
  });
}

bool ModelFolder::Wants(std::string_view name) {
  return name.find('/') == std::string_view::npos &&
         (name.ends_with(kWeightsSuffix) || name == kIndexName ||
          std::find(kTexts.begin(), kTexts.end(), name) != kTexts.end());
}

bool ModelFolder::Wants(std::string_view name, std::optional<std::string_view> index) {
  if (!Wants(name) || !name.ends_with(kWeightsSuffix)) {
    return Wants(name);
  }
  if (!index.has_value()) {
    return name == kOnlyWeights;
  }
  // With an escape in it, JSON could spell a name otherwise.
  return index->find('\\') != std::string_view::npos ||
         index->find(absl::StrFormat("\"%s\"", name)) != std::string_view::npos;
}

StatusOr<std::unique_ptr<ModelFolder>> ModelFolder::Make(const Source& source) {
  std::unique_ptr<ModelFolder> folder(new ModelFolder());
  RETURN_IF_ERROR(folder->ReadTexts(source));
  RETURN_IF_ERROR(folder->ReadWeights(source));
  RETURN_IF_ERROR(folder->AddTensors());
  folder->gguf_ =
      Gguf::FromParts(std::move(folder->config_.keys), std::move(folder->gguf_tensors_));
  return folder;
}

StatusOr<std::optional<std::span<const std::byte>>> ModelFolder::Take(const Source& source,
                                                                      const std::string& name) {
  StatusOr<MemoryPages> file = source(name);
  if (file.status().code() == StatusCode::kNotFound) {
    return std::optional<std::span<const std::byte>>();
  }
  RETURN_IF_ERROR(file);
  return std::optional(files_.emplace_back(*std::move(file)).bytes());
}

Status ModelFolder::ReadTexts(const Source& source) {
  // An optional file that is absent is empty.
  const auto read = [&](const char* name, bool required) -> StatusOr<std::string_view> {
    ASSIGN_OR_RETURN(const auto file, Take(source, name));
    if (!file.has_value()) {
      return required ? StatusOr<std::string_view>(
                            ErrorF(StatusCode::kNotFound, "%s: the folder has no such file", name))
                      : std::string_view();
    }
    RETURN_IF_ERROR(CheckTextSize(name, file->size()));
    return TextOf(*file);
  };
  ASSIGN_OR_RETURN(const std::string_view config, read("config.json", true));
  ASSIGN_OR_RETURN(const std::string_view quantize_config, read("quantize_config.json", false));
  ASSIGN_OR_RETURN(config_, ReadFolderConfig(config, quantize_config));
  TokenizerFiles tokenizer{.bos_id = config_.bos_id, .eos_id = config_.eos_id};
  ASSIGN_OR_RETURN(tokenizer.tokenizer_json, read("tokenizer.json", true));
  ASSIGN_OR_RETURN(tokenizer.tokenizer_config, read("tokenizer_config.json", false));
  ASSIGN_OR_RETURN(tokenizer.chat_template, read("chat_template.jinja", false));
  ASSIGN_OR_RETURN(vocabulary_, ReadTokenizerJson(tokenizer));
  if (vocabulary_.size() > config_.vocab_size) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "tokenizer.json has %d tokens, config.json %d",
                  vocabulary_.size(),
                  config_.vocab_size);
  }
  // Embeddings are often padded past the tokens.
  while (vocabulary_.size() < config_.vocab_size) {
    vocabulary_.tokens.push_back("[PAD" + std::to_string(vocabulary_.size()) + "]");
    vocabulary_.types.push_back(TokenType::kUnused);
  }
  return OkStatus();
}

Status ModelFolder::ReadWeights(const Source& source) {
  std::set<std::string> names = {kOnlyWeights};
  ASSIGN_OR_RETURN(const auto index, Take(source, kIndexName));
  if (index.has_value()) {
    RETURN_IF_ERROR(CheckTextSize(kIndexName, index->size()));
    ASSIGN_OR_RETURN(names, NamesOfIndex(TextOf(*index)));
  }
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const auto bytes, Take(source, name));
    if (!bytes.has_value()) {
      return ErrorF(StatusCode::kNotFound, "%s: the folder has no such file", name);
    }
    StatusOr<Safetensors> file = Safetensors::Parse(*bytes);
    if (!file.ok()) {
      return Annotate(file.status(), name);
    }
    for (const auto& [tensor_name, tensor] : file->tensors()) {
      if (!tensors_.emplace(tensor_name, tensor).second) {
        return ErrorF(
            StatusCode::kInvalidArgument, "tensor %s occurs in two files", Quoted(tensor_name));
      }
    }
  }
  return OkStatus();
}

const SafetensorsTensor* ModelFolder::Find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

Status ModelFolder::AddTensors() {
  for (const auto& [name, tensor] : tensors_) {
    const std::string_view view = name;
    if (view.ends_with(kInt4Suffix)) {
      RETURN_IF_ERROR(AddInt4(name.substr(0, name.size() - kInt4Suffix.size())));
      continue;
    }
    const bool part =
        view.ends_with(".qzeros") || view.ends_with(".scales") || view.ends_with(".g_idx");
    if (part && tensors_.contains(name.substr(0, name.rfind('.')) + std::string(kInt4Suffix))) {
      continue;
    }
    if (view.ends_with(".rotary_emb.inv_freq") ||  // follows from theta
        (config_.tied_embeddings && view == "lm_head.weight")) {
      continue;
    }
    RETURN_IF_ERROR(AddTensor(tensor));
  }
  if (!config_.tied_embeddings && Find("lm_head.weight") == nullptr &&
      Find("lm_head.qweight") == nullptr) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "tensor \"lm_head.weight\" is absent, and config.json does not tie it");
  }
  if (!config_.rope_factors.empty()) {
    gguf_tensors_.push_back({.name = names_.emplace_back("rope_freqs.weight"),
                             .ggml_type = kGgmlF32,
                             .dims = {config_.rope_factors.size()},
                             .data = std::as_bytes(std::span(config_.rope_factors))});
  }
  return OkStatus();
}

Status ModelFolder::AddTensor(const SafetensorsTensor& tensor) {
  const size_t dot = tensor.name.rfind('.');
  const std::string suffix = dot == std::string::npos ? "" : tensor.name.substr(dot);
  const std::string role = GgufRole(tensor.name.substr(0, std::min(dot, tensor.name.size())));
  if (role.empty() || (suffix != ".weight" && suffix != ".bias")) {
    return NotUnderstood(tensor.name);
  }
  if (IsEmptyBias(role, suffix, tensor.data)) {
    return OkStatus();
  }
  GgufTensor out{.name = names_.emplace_back(role + suffix), .data = tensor.data};
  switch (tensor.type) {
    case SafetensorsType::kF32:
      out.ggml_type = kGgmlF32;
      break;
    case SafetensorsType::kF16:
      out.ggml_type = kGgmlF16;
      break;
    case SafetensorsType::kBF16:
      out.ggml_type = kGgmlBf16;
      break;
    default:
      return ErrorF(StatusCode::kUnimplemented,
                    "tensor %s: type %s is not served",
                    Quoted(tensor.name),
                    tensor.type_name);
  }
  if (tensor.shape.empty() || tensor.shape.size() > 2 || tensor.data.empty()) {
    return ErrorF(
        StatusCode::kInvalidArgument, "tensor %s: no vector or matrix", Quoted(tensor.name));
  }
  for (size_t i = tensor.shape.size(); i-- > 0;) {
    out.dims.push_back(static_cast<uint64_t>(tensor.shape[i]));
  }
  if (reinterpret_cast<uintptr_t>(tensor.data.data()) % kAlignment != 0) {
    out.data = aligned_.emplace_back(tensor.data.begin(), tensor.data.end());
  }
  gguf_tensors_.push_back(std::move(out));
  return OkStatus();
}

Status ModelFolder::AddInt4(const std::string& prefix) {
  const std::string role = GgufRole(prefix);
  if (role.empty()) {
    return NotUnderstood(prefix + std::string(kInt4Suffix));
  }
  if (!config_.quantisation) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "tensor %s is quantised, and config.json does not say how",
                  Quoted(prefix + std::string(kInt4Suffix)));
  }
  ASSIGN_OR_RETURN(Int4Blocks read,
                   ReadInt4({.name = prefix,
                             .layout = config_.quantisation->layout,
                             .group = config_.quantisation->group,
                             .codes = Find(prefix + ".qweight"),
                             .zeros = Find(prefix + ".qzeros"),
                             .scales = Find(prefix + ".scales"),
                             .group_index = Find(prefix + ".g_idx")}));
  const Int4Blocks& blocks = int4_.emplace_back(std::move(read));
  gguf_tensors_.push_back(
      {.name = names_.emplace_back(role + ".weight"),
       .ggml_type = Info(blocks.format).ggml_type,
       .dims = {static_cast<uint64_t>(blocks.cols), static_cast<uint64_t>(blocks.rows)},
       .data = blocks.data,
       .column_order = blocks.column_order});
  return OkStatus();
}

uint64_t ModelFolder::size_bytes() const {
  uint64_t bytes = 0;
  for (const MemoryPages& file : files_) {
    bytes += file.bytes().size();
  }
  return bytes;
}

void ModelFolder::Release(std::span<const std::byte> range) const {
  for (const MemoryPages& file : files_) {
    const auto bytes = file.bytes();
    if (range.data() >= bytes.data() && range.data() < bytes.data() + bytes.size()) {
      file.Release(range);
    }
  }
}

}  // namespace inferd
