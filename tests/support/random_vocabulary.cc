#include "tests/support/random_vocabulary.h"

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/vocabulary_spec.h"

namespace inferd {
namespace {

constexpr char kChatMl[] =
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

constexpr char kTurns[] =
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}";

// A vocabulary as it grows.
struct Tokens {
  std::vector<std::string> texts;
  std::vector<float> scores;
  std::vector<int32_t> types;

  void Add(std::string text, TokenType type, float score = 0.0f) {
    texts.push_back(std::move(text));
    scores.push_back(score);
    types.push_back(static_cast<int32_t>(type));
  }
  void PadTo(int32_t size) {
    CHECK(texts.size() <= static_cast<size_t>(size));
    while (texts.size() < static_cast<size_t>(size)) {
      Add("<unused" + std::to_string(texts.size()) + ">", TokenType::kUnused, -10000.0f);
    }
  }
};

std::string Utf8(uint32_t code_point) {
  if (code_point < 0x80) {
    return std::string(1, static_cast<char>(code_point));
  }
  CHECK(code_point < 0x800);
  return {static_cast<char>(0xc0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 63))};
}

// GPT-2's alphabet: the byte itself where it is a visible Latin-1 character, else the next code
// point from 256 on.
std::array<std::string, 256> ByteAlphabet() {
  std::array<std::string, 256> alphabet;
  uint32_t next = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool visible = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) ||
                         (byte >= 0xae && byte <= 0xff);
    alphabet[byte] = Utf8(visible ? byte : next++);
  }
  return alphabet;
}

// "_" stands for the space: left and right of each merge, best first.
constexpr std::pair<const char*, const char*> kMerges[] = {
    {"_", "t"}, {"h", "e"},  {"i", "n"},  {"_", "a"}, {"r", "e"},  {"o", "n"},   {"_t", "he"},
    {"_", "s"}, {"e", "r"},  {"a", "t"},  {"n", "d"}, {"_", "w"},  {"i", "s"},   {"o", "r"},
    {"_", "o"}, {"_", "c"},  {"in", "g"}, {"e", "s"}, {"_", "b"},  {"_a", "nd"}, {"i", "t"},
    {"e", "n"}, {"_", "f"},  {"_o", "f"}, {"a", "l"}, {"_", "p"},  {"_t", "o"},  {"o", "u"},
    {"_", "m"}, {"_", "in"}, {"e", "d"},  {"a", "n"}, {"_w", "h"}, {"l", "l"},   {"_", "_"}};

// `text` with the mark for "_" in it.
std::string Spaced(std::string_view text, std::string_view space) {
  std::string result;
  for (const char c : text) {
    result += c == '_' ? std::string(space) : std::string(1, c);
  }
  return result;
}

void SetBytePairs(int32_t vocab_size, GgufWriter& writer) {
  Tokens tokens;
  tokens.Add("<|endoftext|>", TokenType::kControl);
  tokens.Add("<|im_start|>", TokenType::kControl);
  tokens.Add("<|im_end|>", TokenType::kControl);
  const std::array<std::string, 256> alphabet = ByteAlphabet();
  for (const std::string& letter : alphabet) {
    tokens.Add(letter, TokenType::kNormal);
  }
  std::vector<std::string> merges;
  for (const auto& [left, right] : kMerges) {
    const std::string a = Spaced(left, alphabet[' ']);
    const std::string b = Spaced(right, alphabet[' ']);
    merges.push_back(a + " " + b);
    tokens.Add(a + b, TokenType::kNormal);
  }
  tokens.PadTo(vocab_size);
  writer.Set("tokenizer.ggml.model", "gpt2")
      .Set("tokenizer.ggml.pre", "smollm")
      .Set("tokenizer.ggml.tokens", tokens.texts)
      .Set("tokenizer.ggml.token_type", tokens.types)
      .Set("tokenizer.ggml.merges", merges)
      .Set("tokenizer.ggml.bos_token_id", 1u)
      .Set("tokenizer.ggml.eos_token_id", 2u)
      .Set("tokenizer.ggml.padding_token_id", 0u)
      .Set("tokenizer.ggml.add_bos_token", false)
      .Set("tokenizer.chat_template", kChatMl);
}

void SetSentencePiece(int32_t vocab_size, GgufWriter& writer) {
  constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581
  Tokens tokens;
  tokens.Add("<unk>", TokenType::kUnknown);
  tokens.Add("<s>", TokenType::kControl);
  tokens.Add("</s>", TokenType::kControl);
  constexpr char kHex[] = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte) {
    tokens.Add(std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">", TokenType::kByte);
  }
  tokens.Add("<|end|>", TokenType::kControl);
  tokens.Add("<|user|>", TokenType::kControl);
  tokens.Add("<|assistant|>", TokenType::kControl);
  tokens.Add("<|system|>", TokenType::kControl);
  float score = 0.0f;
  for (const auto& [left, right] : kMerges) {
    if (tokens.texts.size() + 27 < static_cast<size_t>(kRandomVocabularyMin)) {
      tokens.Add(Spaced(std::string(left) + right, kSpace), TokenType::kNormal, --score);
    }
  }
  tokens.Add(std::string(kSpace), TokenType::kNormal, --score);
  for (char letter = 'a'; letter <= 'z'; ++letter) {
    tokens.Add(std::string(1, letter), TokenType::kNormal, --score);
  }
  tokens.PadTo(vocab_size);
  writer.Set("tokenizer.ggml.model", "llama")
      .Set("tokenizer.ggml.pre", "default")
      .Set("tokenizer.ggml.tokens", tokens.texts)
      .Set("tokenizer.ggml.scores", tokens.scores)
      .Set("tokenizer.ggml.token_type", tokens.types)
      .Set("tokenizer.ggml.bos_token_id", 1u)
      .Set("tokenizer.ggml.eos_token_id", 2u)
      .Set("tokenizer.ggml.unknown_token_id", 0u)
      .Set("tokenizer.ggml.add_bos_token", true)
      .Set("tokenizer.ggml.add_space_prefix", false)
      .Set("tokenizer.chat_template", kTurns);
}

}  // namespace

void SetVocabulary(RandomVocabulary kind, int32_t vocab_size, GgufWriter& writer) {
  CHECK(vocab_size >= kRandomVocabularyMin);
  if (kind == RandomVocabulary::kBytePairs) {
    SetBytePairs(vocab_size, writer);
  } else {
    SetSentencePiece(vocab_size, writer);
  }
}

}  // namespace inferd
