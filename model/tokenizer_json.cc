#include "model/tokenizer_json.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "model/bounded_json.h"
#include "model/printable.h"
#include "model/vocabulary.h"

namespace inferd {
namespace {

using model_internal::FindMember;
using nlohmann::json;

constexpr model_internal::JsonLimits kLimits = {
    .bytes_max = size_t{64} << 20, .values_max = size_t{4} << 20, .depth_max = 32};
constexpr int64_t kTokensMax = 1 << 22;
constexpr size_t kPatternsMax = 16;
// What ByteLevel splits by if it is asked to, and what Digits does.
constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kOneDigit = R"(\p{N})";
constexpr std::string_view kDigits = R"(\p{N}+)";
constexpr std::string_view kVisibleSpace = "\xe2\x96\x81";

Status Bad(std::string_view problem) {
  return ErrorF(StatusCode::kInvalidArgument, "tokenizer.json: %s", problem);
}

Status NotServed(std::string_view what, const std::string& name) {
  return ErrorF(
      StatusCode::kUnimplemented, "tokenizer.json: %s %s is not served", what, Quoted(name));
}

std::string TextOf(const json& object, const char* key) {
  const json* value = FindMember(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

bool FlagOf(const json& object, const char* key, bool if_absent) {
  const json* value = FindMember(object, key);
  return value != nullptr && value->is_boolean() ? value->get<bool>() : if_absent;
}

// The parts of a Sequence, else the part itself; none if null.
std::vector<const json*> PartsOf(const json& root, const char* key, const char* list) {
  const json* part = FindMember(root, key);
  if (part == nullptr) {
    return {};
  }
  const json* parts = FindMember(*part, list);
  if (TextOf(*part, "type") != "Sequence" || parts == nullptr || !parts->is_array()) {
    return {part};
  }
  std::vector<const json*> result;
  for (const json& entry : *parts) {
    result.push_back(&entry);
  }
  return result;
}

class TokenizerReader {
 public:
  explicit TokenizerReader(const json& root) : root_(root) {}

  StatusOr<VocabularySpec> Read() {
    const json* model = FindMember(root_, "model");
    if (model == nullptr || !model->is_object()) {
      return Bad("no model");
    }
    if (const std::string type = TextOf(*model, "type"); !type.empty() && type != "BPE") {
      return NotServed("the model", type);
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!TextOf(*model, key).empty()) {
        return NotServed("a mark of subwords,", key);
      }
    }
    spec_.ignore_merges = FlagOf(*model, "ignore_merges", false);
    spec_.add_space_prefix = false;
    RETURN_IF_ERROR(ReadPreTokenizers());
    RETURN_IF_ERROR(ReadNormalizers());
    if (spec_.kind == TokenizerKind::kNone) {
      if (!FlagOf(*model, "byte_fallback", false)) {
        return NotServed("BPE without bytes,", "byte_fallback");
      }
      spec_.kind = TokenizerKind::kSentencePiece;
    }
    RETURN_IF_ERROR(ReadVocabulary(*model));
    RETURN_IF_ERROR(ReadMerges(*model));
    RETURN_IF_ERROR(ReadPostProcessors());
    return std::move(spec_);
  }

 private:
  Status AddPattern(std::string pattern) {
    if (spec_.pre_patterns.size() == kPatternsMax) {
      return Bad("too many pre-tokenizers");
    }
    spec_.pre_patterns.push_back(std::move(pattern));
    return OkStatus();
  }

  Status ReadPreTokenizers() {
    for (const json* part : PartsOf(root_, "pre_tokenizer", "pretokenizers")) {
      const std::string type = TextOf(*part, "type");
      if (type == "ByteLevel") {
        spec_.kind = TokenizerKind::kByteLevelBpe;
        if (FlagOf(*part, "add_prefix_space", false)) {
          return NotServed("a byte-level", "add_prefix_space");
        }
        if (FlagOf(*part, "use_regex", true)) {
          RETURN_IF_ERROR(AddPattern(std::string(kByteLevelPattern)));
        }
      } else if (type == "Split") {
        const json* pattern = FindMember(*part, "pattern");
        const std::string regex = pattern == nullptr ? "" : TextOf(*pattern, "Regex");
        if (regex.empty() || TextOf(*part, "behavior") != "Isolated" ||
            FlagOf(*part, "invert", false)) {
          return NotServed("a Split that is not of isolated matches of a", "Regex");
        }
        RETURN_IF_ERROR(AddPattern(regex));
      } else if (type == "Digits") {
        const bool one = FlagOf(*part, "individual_digits", false);
        RETURN_IF_ERROR(AddPattern(std::string(one ? kOneDigit : kDigits)));
      } else if (type == "Metaspace") {
        RETURN_IF_ERROR(ReadMetaspace(*part));
      } else {
        return NotServed("the pre-tokenizer", type);
      }
    }
    if (spec_.kind != TokenizerKind::kByteLevelBpe && !spec_.pre_patterns.empty()) {
      return NotServed("a split of text that is not bytes,", "pre_tokenizer");
    }
    return OkStatus();
  }

  Status ReadMetaspace(const json& part) {
    const std::string scheme = TextOf(part, "prepend_scheme");
    if (TextOf(part, "replacement") != kVisibleSpace || FlagOf(part, "split", false) ||
        scheme == "first") {
      return NotServed("Metaspace with", scheme.empty() ? "split" : scheme);
    }
    spec_.add_space_prefix =
        scheme.empty() ? FlagOf(part, "add_prefix_space", true) : scheme == "always";
    return OkStatus();
  }

  Status ReadNormalizers() {
    for (const json* part : PartsOf(root_, "normalizer", "normalizers")) {
      const std::string type = TextOf(*part, "type");
      const json* pattern = FindMember(*part, "pattern");
      if (type == "Prepend" && TextOf(*part, "prepend") == kVisibleSpace) {
        spec_.add_space_prefix = true;
      } else if (type == "Replace" && pattern != nullptr && TextOf(*pattern, "String") == " " &&
                 TextOf(*part, "content") == kVisibleSpace) {
        continue;  // what SentencePiece vocabularies mean by a space anyway
      } else if (type != "NFC" || spec_.kind != TokenizerKind::kByteLevelBpe) {
        return NotServed("the normalizer", type);
      }
    }
    return OkStatus();
  }

  // Puts a token at its id. A token that is there already keeps the type that was given last.
  Status Place(const json& id_value, const std::string& text, TokenType type) {
    if (!id_value.is_number_integer()) {
      return Bad("an id that is no number");
    }
    const auto id = id_value.is_number_unsigned() &&
                            id_value.get<uint64_t>() >= static_cast<uint64_t>(kTokensMax)
                        ? kTokensMax
                        : id_value.get<int64_t>();
    if (id < 0 || id >= kTokensMax) {
      return Bad("a token's id is out of bounds");
    }
    const auto at = static_cast<size_t>(id);
    if (at >= slots_.size()) {
      slots_.resize(at + 1);
    }
    if (slots_[at].taken && slots_[at].text != text) {
      return ErrorF(StatusCode::kInvalidArgument, "tokenizer.json: id %d has two tokens", id);
    }
    slots_[at] = {text, type, true};
    return OkStatus();
  }

  Status ReadVocabulary(const json& model) {
    const json* vocabulary = FindMember(model, "vocab");
    if (vocabulary == nullptr || !vocabulary->is_object() || vocabulary->empty()) {
      return Bad("no vocabulary");
    }
    const bool bytes = spec_.kind == TokenizerKind::kSentencePiece;
    for (const auto& [text, id] : vocabulary->items()) {
      const bool byte = bytes && text.size() == 6 && text.starts_with("<0x") && text[5] == '>';
      RETURN_IF_ERROR(Place(id, text, byte ? TokenType::kByte : TokenType::kNormal));
    }
    if (const json* added = FindMember(root_, "added_tokens"); added != nullptr) {
      for (const json& token : *added) {
        const json* id = FindMember(token, "id");
        if (id == nullptr) {
          return Bad("an added token without an id");
        }
        RETURN_IF_ERROR(
            Place(*id,
                  TextOf(token, "content"),
                  FlagOf(token, "special", false) ? TokenType::kControl : TokenType::kUserDefined));
      }
    }
    // Ids far apart would make a vocabulary of holes.
    const auto taken =
        std::count_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.taken; });
    if (static_cast<size_t>(taken) < slots_.size() / 2) {
      return Bad("ids with more gaps than tokens");
    }
    for (size_t i = 0; i < slots_.size(); ++i) {
      Slot& slot = slots_[i];
      spec_.tokens.push_back(slot.taken ? std::move(slot.text)
                                        : "[UNUSED" + std::to_string(i) + "]");
      spec_.types.push_back(slot.taken ? slot.type : TokenType::kUnused);
    }
    return FindUnknown(model);
  }

  Status FindUnknown(const json& model) {
    const std::string text = TextOf(model, "unk_token");
    if (text.empty()) {
      return OkStatus();
    }
    const auto found = std::find(spec_.tokens.begin(), spec_.tokens.end(), text);
    if (found == spec_.tokens.end()) {
      return Bad("unk_token is no token");
    }
    const auto at = static_cast<size_t>(found - spec_.tokens.begin());
    spec_.unk = static_cast<TokenId>(at);
    spec_.types[at] = TokenType::kUnknown;
    return OkStatus();
  }

  Status ReadMerges(const json& model) {
    const json* merges = FindMember(model, "merges");
    if (merges == nullptr || !merges->is_array()) {
      return Bad("no merges");
    }
    spec_.merges.reserve(merges->size());
    for (const json& merge : *merges) {
      if (merge.is_string()) {
        spec_.merges.push_back(merge.get<std::string>());
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string() &&
                 merge[0].get_ref<const std::string&>().find(' ') == std::string::npos) {
        spec_.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
      } else {
        return Bad("a merge that is not two parts without a space");
      }
    }
    if (spec_.merges.empty()) {
      return Bad("no merges");
    }
    return OkStatus();
  }

  // Whether a text starts with bos: a TemplateProcessing whose first part for one text is a token.
  Status ReadPostProcessors() {
    for (const json* part : PartsOf(root_, "post_processor", "processors")) {
      const std::string type = TextOf(*part, "type");
      if (type == "ByteLevel") {
        continue;  // offsets only
      }
      const json* single = FindMember(*part, "single");
      if (type != "TemplateProcessing" || single == nullptr || !single->is_array()) {
        return NotServed("the post-processor", type);
      }
      for (size_t i = 0; i < single->size(); ++i) {
        const json* token = FindMember((*single)[i], "SpecialToken");
        if (token == nullptr) {
          continue;
        }
        const auto found =
            std::find(spec_.tokens.begin(), spec_.tokens.end(), TextOf(*token, "id"));
        if (found == spec_.tokens.end()) {
          return Bad("the post-processor names no token");
        }
        const auto id = static_cast<TokenId>(found - spec_.tokens.begin());
        (i == 0 ? spec_.add_bos : spec_.add_eos) = true;
        (i == 0 ? spec_.bos : spec_.eos) = id;
      }
    }
    return OkStatus();
  }

  struct Slot {
    std::string text;
    TokenType type = TokenType::kNormal;
    bool taken = false;
  };
  const json& root_;
  VocabularySpec spec_;
  std::vector<Slot> slots_;
};

// A token given as text or as an object with its content.
std::string TokenText(const json& config, const char* key) {
  const json* value = FindMember(config, key);
  if (value == nullptr) {
    return {};
  }
  return value->is_object() ? TextOf(*value, "content") : TextOf(config, key);
}

Status NameTokens(const json& config, VocabularySpec& spec) {
  const std::pair<const char*, std::optional<TokenId>*> names[] = {
      {"bos_token", &spec.bos}, {"eos_token", &spec.eos}, {"pad_token", &spec.pad}};
  for (const auto& [key, id] : names) {
    const std::string text = TokenText(config, key);
    if (text.empty()) {
      continue;
    }
    const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), text);
    if (found == spec.tokens.end()) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "tokenizer_config.json: %s %s is no token",
                    key,
                    Quoted(text));
    }
    *id = static_cast<TokenId>(found - spec.tokens.begin());
  }
  spec.add_bos = FlagOf(config, "add_bos_token", spec.add_bos) && spec.bos;
  spec.add_eos = FlagOf(config, "add_eos_token", spec.add_eos) && spec.eos;
  return OkStatus();
}

// One template, or the one called "default" of several.
std::string ChatTemplateOf(const json& config) {
  const json* value = FindMember(config, "chat_template");
  if (value == nullptr || !value->is_array()) {
    return TextOf(config, "chat_template");
  }
  for (const json& entry : *value) {
    if (TextOf(entry, "name") == "default") {
      return TextOf(entry, "template");
    }
  }
  return {};
}

Status TakeId(std::optional<int64_t> from, std::optional<TokenId>& to, int64_t size) {
  if (to || !from) {
    return OkStatus();
  }
  if (*from < 0 || *from >= size) {
    return ErrorF(
        StatusCode::kInvalidArgument, "config.json: token %d of a vocabulary of %d", *from, size);
  }
  to = static_cast<TokenId>(*from);
  return OkStatus();
}

}  // namespace

StatusOr<VocabularySpec> ReadTokenizerJson(const TokenizerFiles& files) {
  ASSIGN_OR_RETURN(
      const json root,
      model_internal::ParseJsonObject("tokenizer.json", files.tokenizer_json, kLimits));
  ASSIGN_OR_RETURN(VocabularySpec spec, TokenizerReader(root).Read());
  if (!files.tokenizer_config.empty()) {
    ASSIGN_OR_RETURN(
        const json config,
        model_internal::ParseJsonObject("tokenizer_config.json", files.tokenizer_config, kLimits));
    RETURN_IF_ERROR(NameTokens(config, spec));
    spec.chat_template = ChatTemplateOf(config);
  }
  if (!files.chat_template.empty()) {
    spec.chat_template = files.chat_template;
  }
  RETURN_IF_ERROR(TakeId(files.bos_id, spec.bos, spec.size()));
  RETURN_IF_ERROR(TakeId(files.eos_id, spec.eos, spec.size()));
  FindEndOfTurn(spec);
  return spec;
}

}  // namespace inferd
