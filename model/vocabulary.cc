#include "model/vocabulary.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include "model/printable.h"

namespace inferd {
namespace {

Status BadKey(std::string_view key, std::string_view problem) {
  return ErrorF(StatusCode::kInvalidArgument, "key %s: %s", Quoted(key), problem);
}

StatusOr<TokenizerKind> KindOf(std::string_view model) {
  if (model == "gpt2") {
    return TokenizerKind::kByteLevelBpe;
  }
  if (model == "llama") {
    return TokenizerKind::kSentencePiece;
  }
  if (model == "bert") {
    return TokenizerKind::kWordPiece;
  }
  if (model == "none" || model == "no_vocab") {
    return TokenizerKind::kNone;
  }
  return ErrorF(StatusCode::kUnimplemented,
                "tokenizer model %s is not served; gpt2, llama and bert are",
                Quoted(model));
}

// The pre-tokenizers whose vocabularies start a text with bos though no key says so: files that
// were made before `add_bos_token` was written.
bool PreAddsBos(std::string_view pre) {
  constexpr std::array<std::string_view, 7> kNames = {
      "llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "tekken", "chameleon"};
  return std::find(kNames.begin(), kNames.end(), pre) != kNames.end();
}

// The array at `key`, or nullptr if absent. kInvalidArgument if it is not an array of T.
template <typename T>
StatusOr<const std::vector<T>*> FindArray(const Gguf& gguf, std::string_view key) {
  const GgufValue* value = gguf.Find(key);
  if (value == nullptr) {
    return nullptr;
  }
  const auto* array = std::get_if<GgufArray>(&value->value);
  const auto* elements = array == nullptr ? nullptr : std::get_if<std::vector<T>>(&array->values);
  if (elements == nullptr) {
    return BadKey(key, "not an array of the type that it must have");
  }
  return elements;
}

Status CheckLength(std::string_view key, size_t length, size_t tokens) {
  if (length == tokens) {
    return OkStatus();
  }
  return ErrorF(StatusCode::kInvalidArgument,
                "key %s: %d entries for %d tokens",
                Quoted(key),
                length,
                tokens);
}

Status ReadTokens(const Gguf& gguf, VocabularySpec& spec) {
  constexpr std::string_view kKey = "tokenizer.ggml.tokens";
  ASSIGN_OR_RETURN(const auto* tokens, FindArray<std::string_view>(gguf, kKey));
  if (tokens == nullptr || tokens->empty()) {
    return BadKey(kKey, "absent or empty");
  }
  spec.tokens.assign(tokens->begin(), tokens->end());
  return OkStatus();
}

Status ReadScores(const Gguf& gguf, VocabularySpec& spec) {
  constexpr std::string_view kKey = "tokenizer.ggml.scores";
  ASSIGN_OR_RETURN(const auto* scores, FindArray<double>(gguf, kKey));
  if (scores == nullptr) {
    return OkStatus();
  }
  RETURN_IF_ERROR(CheckLength(kKey, scores->size(), spec.tokens.size()));
  spec.scores.reserve(scores->size());
  for (const double score : *scores) {
    if (!std::isfinite(score)) {
      return BadKey(kKey, "a score that is not finite");
    }
    spec.scores.push_back(static_cast<float>(score));
  }
  return OkStatus();
}

Status ReadTypes(const Gguf& gguf, VocabularySpec& spec) {
  constexpr std::string_view kKey = "tokenizer.ggml.token_type";
  ASSIGN_OR_RETURN(const auto* types, FindArray<int64_t>(gguf, kKey));
  if (types == nullptr) {
    return OkStatus();
  }
  RETURN_IF_ERROR(CheckLength(kKey, types->size(), spec.tokens.size()));
  spec.types.reserve(types->size());
  for (const int64_t type : *types) {
    if (type < static_cast<int64_t>(TokenType::kNormal) ||
        type > static_cast<int64_t>(TokenType::kByte)) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "key %s: token %d has type %d; 1 to 6 are known",
                    Quoted(kKey),
                    spec.types.size(),
                    type);
    }
    spec.types.push_back(static_cast<TokenType>(type));
  }
  return OkStatus();
}

Status ReadMerges(const Gguf& gguf, VocabularySpec& spec) {
  ASSIGN_OR_RETURN(const auto* merges, FindArray<std::string_view>(gguf, "tokenizer.ggml.merges"));
  if (merges != nullptr) {
    spec.merges.assign(merges->begin(), merges->end());
  }
  return OkStatus();
}

Status ReadTokenId(const Gguf& gguf,
                   std::string_view name,
                   const VocabularySpec& spec,
                   std::optional<TokenId>& id) {
  const std::string key = "tokenizer.ggml." + std::string(name);
  if (gguf.Find(key) == nullptr) {
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const int64_t value, gguf.GetInt(key));
  if (value < 0 || value >= spec.size()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "key %s: token %d of a vocabulary of %d",
                  Quoted(key),
                  value,
                  spec.size());
  }
  id = static_cast<TokenId>(value);
  return OkStatus();
}

Status ReadTokenIds(const Gguf& gguf, VocabularySpec& spec) {
  const std::pair<std::string_view, std::optional<TokenId>*> ids[] = {
      {"bos_token_id", &spec.bos},
      {"eos_token_id", &spec.eos},
      {"eot_token_id", &spec.eot},
      {"eom_token_id", &spec.eom},
      {"unknown_token_id", &spec.unk},
      {"seperator_token_id", &spec.sep},  // the key is spelt so
      {"padding_token_id", &spec.pad},
      {"cls_token_id", &spec.cls},
      {"mask_token_id", &spec.mask},
  };
  for (const auto& [name, id] : ids) {
    RETURN_IF_ERROR(ReadTokenId(gguf, name, spec, *id));
  }
  return OkStatus();
}

Status ReadFlag(const Gguf& gguf, std::string_view key, bool& flag) {
  if (gguf.Find(key) == nullptr) {
    return OkStatus();
  }
  ASSIGN_OR_RETURN(flag, gguf.GetBool(key));
  return OkStatus();
}

Status ReadText(const Gguf& gguf, std::string_view key, std::string& text) {
  if (gguf.Find(key) == nullptr) {
    return OkStatus();
  }
  ASSIGN_OR_RETURN(text, gguf.GetString(key));
  return OkStatus();
}

// Whether texts carry bos, eos and a first space: what the kind implies, then what keys say.
Status ReadFlags(const Gguf& gguf, VocabularySpec& spec) {
  spec.add_bos = spec.bos && (spec.kind == TokenizerKind::kSentencePiece ||
                              (spec.kind == TokenizerKind::kByteLevelBpe && PreAddsBos(spec.pre)));
  const std::pair<std::string_view, bool*> flags[] = {
      {"tokenizer.ggml.add_bos_token", &spec.add_bos},
      {"tokenizer.ggml.add_eos_token", &spec.add_eos},
      {"tokenizer.ggml.add_space_prefix", &spec.add_space_prefix},
      {"tokenizer.ggml.remove_extra_whitespaces", &spec.remove_extra_whitespaces},
  };
  for (const auto& [key, flag] : flags) {
    RETURN_IF_ERROR(ReadFlag(gguf, key, *flag));
  }
  constexpr std::string_view kProblem = "absent, though the file asks that texts carry it";
  if (spec.add_bos && !spec.bos) {
    return BadKey("tokenizer.ggml.bos_token_id", kProblem);
  }
  if (spec.add_eos && !spec.eos) {
    return BadKey("tokenizer.ggml.eos_token_id", kProblem);
  }
  return OkStatus();
}

bool IsPhi3(const Gguf& gguf) {
  const StatusOr<std::string_view> architecture = gguf.GetString("general.architecture");
  return architecture.ok() && *architecture == "phi3";
}

// The kind of tokenizer; kNone if the file has none.
StatusOr<TokenizerKind> ReadKind(const Gguf& gguf) {
  constexpr std::string_view kKey = "tokenizer.ggml.model";
  if (gguf.Find(kKey) != nullptr) {
    ASSIGN_OR_RETURN(const std::string_view model, gguf.GetString(kKey));
    return KindOf(model);
  }
  if (gguf.Find("tokenizer.ggml.tokens") != nullptr) {
    return BadKey(kKey, "absent, though the file has tokens");
  }
  return TokenizerKind::kNone;
}

}  // namespace

void FindEndOfTurn(VocabularySpec& spec) {
  constexpr std::array<std::string_view, 5> kTexts = {
      "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|end_of_turn|>"};
  for (size_t i = 0; !spec.eot && i < spec.tokens.size(); ++i) {
    const bool special = i < spec.types.size() && (spec.types[i] == TokenType::kControl ||
                                                   spec.types[i] == TokenType::kUserDefined);
    if (special && std::find(kTexts.begin(), kTexts.end(), spec.tokens[i]) != kTexts.end()) {
      spec.eot = static_cast<TokenId>(i);
    }
  }
}

StatusOr<VocabularySpec> ReadVocabulary(const Gguf& gguf) {
  VocabularySpec spec;
  RETURN_IF_ERROR(ReadText(gguf, "tokenizer.chat_template", spec.chat_template));
  ASSIGN_OR_RETURN(spec.kind, ReadKind(gguf));
  if (spec.kind == TokenizerKind::kNone) {
    return spec;
  }
  RETURN_IF_ERROR(ReadText(gguf, "tokenizer.ggml.pre", spec.pre));
  RETURN_IF_ERROR(ReadTokens(gguf, spec));
  RETURN_IF_ERROR(ReadScores(gguf, spec));
  RETURN_IF_ERROR(ReadTypes(gguf, spec));
  RETURN_IF_ERROR(ReadMerges(gguf, spec));
  RETURN_IF_ERROR(ReadTokenIds(gguf, spec));
  FindEndOfTurn(spec);
  spec.strips_after_special = spec.kind == TokenizerKind::kSentencePiece && IsPhi3(gguf);
  RETURN_IF_ERROR(ReadFlags(gguf, spec));
  return spec;
}

}  // namespace inferd
