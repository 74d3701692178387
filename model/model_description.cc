#include "model/model_description.h"

#include <string>
#include <utility>

#include "model/config_builder.h"
#include "model/family.h"
#include "model/family_weights.h"
#include "model/printable.h"
#include "model/vocabulary.h"

namespace inferd {
namespace {

// Refuses GGUF files that are something else than one whole model.
Status CheckKind(const Gguf& gguf) {
  if (gguf.Find("general.type") != nullptr) {
    ASSIGN_OR_RETURN(const std::string_view type, gguf.GetString("general.type"));
    if (type != "model") {
      return ErrorF(StatusCode::kUnimplemented, "the file holds a %s, not a model", Quoted(type));
    }
  }
  if (gguf.Find("split.count") != nullptr) {
    ASSIGN_OR_RETURN(const int64_t parts, gguf.GetInt("split.count"));
    if (parts > 1) {
      return ErrorF(StatusCode::kUnimplemented,
                    "one of %d parts of a model; models in several files are not served",
                    parts);
    }
  }
  if (gguf.Find("general.quantization_version") != nullptr) {
    ASSIGN_OR_RETURN(const int64_t version, gguf.GetInt("general.quantization_version"));
    if (version != 2) {
      return ErrorF(
          StatusCode::kUnimplemented, "quantization version %d is not read; 2 is", version);
    }
  }
  if (gguf.tensors().empty()) {
    return ErrorF(StatusCode::kInvalidArgument, "the file holds no tensors, only metadata");
  }
  return OkStatus();
}

StatusOr<const Family*> ReadFamily(const Gguf& gguf) {
  if (gguf.Find("general.architecture") == nullptr) {
    return ErrorF(StatusCode::kInvalidArgument, "key \"general.architecture\" is absent");
  }
  ASSIGN_OR_RETURN(const std::string_view name, gguf.GetString("general.architecture"));
  if (const Family* family = FindFamily(name)) {
    return family;
  }
  std::string served;
  for (const Family& family : Families()) {
    served += served.empty() ? "" : ", ";
    served += family.architecture;
  }
  return ErrorF(
      StatusCode::kUnimplemented, "architecture %s is not served; %s are", Quoted(name), served);
}

// The tokenizer says how many tokens there are; without one, the embedding does.
StatusOr<int64_t> VocabularySize(const Gguf& gguf, const VocabularySpec& vocabulary) {
  if (vocabulary.kind != TokenizerKind::kNone) {
    return vocabulary.size();
  }
  const GgufTensor* embedding = gguf.FindTensor("token_embd.weight");
  if (embedding == nullptr) {
    return ErrorF(StatusCode::kInvalidArgument, "tensor \"token_embd.weight\" is absent");
  }
  constexpr uint64_t kVocabularyMax = 1 << 22;
  if (embedding->dims.size() < 2 || embedding->dims[1] > kVocabularyMax) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "tensor \"token_embd.weight\": not a matrix of at most %d rows",
                  kVocabularyMax);
  }
  return static_cast<int64_t>(embedding->dims[1]);
}

}  // namespace

StatusOr<ModelDescription> DescribeModel(const Family& family,
                                         const Gguf& gguf,
                                         VocabularySpec vocabulary,
                                         const ModelOptions& options) {
  ModelDescription model;
  model.vocabulary = std::move(vocabulary);
  ASSIGN_OR_RETURN(const int64_t vocab_size, VocabularySize(gguf, model.vocabulary));
  ConfigReader config(gguf, family.architecture);
  WeightReader weights(gguf);
  ASSIGN_OR_RETURN(model.config,
                   ReadConfig(family, vocab_size, options.context_tokens_max, config, weights));
  if (gguf.Find("general.name") != nullptr) {
    ASSIGN_OR_RETURN(model.config.name, gguf.GetString("general.name"));
  }
  ASSIGN_OR_RETURN(model.weights, ReadWeights(family, model.config, weights));
  return model;
}

StatusOr<ModelDescription> DescribeModel(const Gguf& gguf, const ModelOptions& options) {
  RETURN_IF_ERROR(CheckKind(gguf));
  ASSIGN_OR_RETURN(const Family* const family, ReadFamily(gguf));
  ASSIGN_OR_RETURN(VocabularySpec vocabulary, ReadVocabulary(gguf));
  return DescribeModel(*family, gguf, std::move(vocabulary), options);
}

}  // namespace inferd
