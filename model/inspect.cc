#include "model/inspect.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "base/file.h"
#include "model/model_description.h"
#include "model/printable.h"
#include "model/quant_format.h"
#include "model/vocabulary.h"

namespace inferd {
namespace {

std::string TextOr(const Gguf& gguf, std::string_view key) {
  const auto text = gguf.GetString(key);
  if (!text.ok()) {
    return std::string();
  }
  const std::string quoted = Quoted(*text);
  // Without the quotes: a cut text keeps its "...".
  return quoted.ends_with('"') ? quoted.substr(1, quoted.size() - 2) : quoted.substr(1);
}

int64_t IntOr(const Gguf& gguf, std::string_view key) {
  const auto value = gguf.GetInt(key);
  return value.ok() ? *value : 0;
}

struct ValueText {
  std::string operator()(uint64_t value) const { return std::to_string(value); }
  std::string operator()(int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return absl::StrFormat("%g", value); }
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(std::string_view text) const { return Quoted(text); }
  std::string operator()(const GgufArray& array) const {
    return std::visit([](const auto& elements) { return OfElements(elements); }, array.values);
  }
  template <typename T>
  static std::string OfElements(const std::vector<T>& elements) {
    constexpr size_t kShown = 4;
    std::string text = absl::StrFormat("[%d]", elements.size());
    for (size_t i = 0; i < std::min(kShown, elements.size()); ++i) {
      const T element = elements[i];
      text += (i == 0 ? " " : ", ") + ValueText()(element);
    }
    return elements.size() > kShown ? text + ", ..." : text;
  }
};

void AddFormats(const Gguf& gguf, ModelSummary& summary) {
  std::map<uint32_t, ModelSummary::FormatUse> uses;
  for (const GgufTensor& tensor : gguf.tensors()) {
    uint64_t values = 1;
    for (const uint64_t dim : tensor.dims) {
      values *= dim;  // Gguf::Parse has checked that it does not overflow
    }
    ModelSummary::FormatUse& use = uses[tensor.ggml_type];
    ++use.n_tensors;
    use.n_values += values;
    use.bytes += tensor.data.size();
    summary.n_parameters += values;
  }
  for (auto& [type, use] : uses) {
    use.readable = QuantFormatFromGgml(type).has_value();
    const std::string_view name = GgmlTypeName(type);
    use.name = name == "unknown" ? absl::StrFormat("type %d", type) : std::string(name);
    summary.formats.push_back(std::move(use));
  }
  std::sort(summary.formats.begin(), summary.formats.end(), [](const auto& a, const auto& b) {
    return a.n_values != b.n_values ? a.n_values > b.n_values : a.name < b.name;
  });
}

void AddReasons(const Gguf& gguf, ModelSummary& summary) {
  const auto add = [&summary](std::string reason) {
    if (std::find(summary.unsupported.begin(), summary.unsupported.end(), reason) ==
        summary.unsupported.end()) {
      summary.unsupported.push_back(std::move(reason));
    }
  };
  for (const ModelSummary::FormatUse& use : summary.formats) {
    if (!use.readable) {
      add(absl::StrFormat(
          "%d tensors are stored as %s, which is not served", use.n_tensors, use.name));
    }
  }
  const Status vocabulary = ReadVocabulary(gguf).status();
  if (!vocabulary.ok()) {
    add(std::string(Message(vocabulary)));
  }
  const Status model = DescribeModel(gguf).status();
  if (!model.ok()) {
    add(std::string(Message(model)));
  }
}

std::string Bytes(uint64_t bytes) {
  if (bytes < 1'000'000) {
    return absl::StrFormat("%d bytes", bytes);
  }
  return absl::StrFormat("%.1f MB", static_cast<double>(bytes) / 1e6);
}

}  // namespace

ModelSummary Summarize(const Gguf& gguf, uint64_t file_bytes) {
  ModelSummary summary;
  summary.gguf_version = gguf.version();
  summary.file_bytes = file_bytes;
  summary.architecture = TextOr(gguf, "general.architecture");
  summary.name = TextOr(gguf, "general.name");
  const auto architecture = gguf.GetString("general.architecture");
  if (architecture.ok()) {
    const std::string prefix = std::string(*architecture) + ".";
    summary.context_tokens_max = IntOr(gguf, prefix + "context_length");
    summary.n_layers = IntOr(gguf, prefix + "block_count");
    summary.d_model = IntOr(gguf, prefix + "embedding_length");
  }
  summary.n_tensors = gguf.tensors().size();
  AddFormats(gguf, summary);
  summary.tokenizer = TextOr(gguf, "tokenizer.ggml.model");
  summary.pre_tokenizer = TextOr(gguf, "tokenizer.ggml.pre");
  if (const GgufValue* tokens = gguf.Find("tokenizer.ggml.tokens")) {
    const auto* array = std::get_if<GgufArray>(&tokens->value);
    summary.n_tokens = array == nullptr ? 0 : array->size();
  }
  summary.has_chat_template = gguf.Find("tokenizer.chat_template") != nullptr;
  for (const auto& [key, value] : gguf.metadata()) {
    const std::string quoted = Quoted(key);
    summary.metadata.emplace_back(quoted.substr(1, quoted.find_last_of('"') - 1),
                                  std::visit(ValueText(), value.value));
  }
  AddReasons(gguf, summary);
  return summary;
}

StatusOr<ModelSummary> InspectModel(const std::string& path) {
  ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const auto gguf = Gguf::Parse(file.bytes());
  if (!gguf.ok()) {
    return Annotate(gguf.status(), path);
  }
  return Summarize(*gguf, file.bytes().size());
}

std::string ToText(const ModelSummary& summary) {
  const auto or_none = [](const std::string& text) { return text.empty() ? "none" : text; };
  std::string text = absl::StrFormat("architecture    %s\n", or_none(summary.architecture));
  text += absl::StrFormat("name            %s\n", or_none(summary.name));
  text += absl::StrFormat("format          GGUF v%d\n", summary.gguf_version);
  text += absl::StrFormat("size            %s\n", Bytes(summary.file_bytes));
  text += absl::StrFormat("parameters      %.1f M in %d tensors\n",
                          static_cast<double>(summary.n_parameters) / 1e6,
                          summary.n_tensors);
  text += absl::StrFormat("layers          %d, width %d\n", summary.n_layers, summary.d_model);
  text += absl::StrFormat("context         %d tokens\n", summary.context_tokens_max);
  text += absl::StrFormat("tokenizer       %s, pre-tokenizer %s, %d tokens\n",
                          or_none(summary.tokenizer),
                          or_none(summary.pre_tokenizer),
                          summary.n_tokens);
  text += absl::StrFormat("chat template   %s\n", summary.has_chat_template ? "yes" : "no");
  text += "formats\n";
  for (const ModelSummary::FormatUse& use : summary.formats) {
    text += absl::StrFormat("  %-8s %5d tensors  %8.1f M values  %s\n",
                            use.name,
                            use.n_tensors,
                            static_cast<double>(use.n_values) / 1e6,
                            use.readable ? Bytes(use.bytes) : "not served");
  }
  text += "metadata\n";
  for (const auto& [key, value] : summary.metadata) {
    text += absl::StrFormat("  %s = %s\n", key, value);
  }
  if (summary.unsupported.empty()) {
    text += "served          yes\n";
  } else {
    text += "served          no\n";
    for (const std::string& reason : summary.unsupported) {
      text += absl::StrFormat("  %s\n", reason);
    }
  }
  return text;
}

}  // namespace inferd
