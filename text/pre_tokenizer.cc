#include "text/pre_tokenizer.h"

#include <span>

namespace inferd::text_internal {
namespace {

// The patterns of the models' own tokenizer files.
constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|)"
    R"( ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kOneDigit = R"(\p{N})";
constexpr std::string_view kLetters =
    R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+)";
constexpr std::string_view kPunctuation = R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)";
constexpr std::string_view kTrailingSpace = R"(\s+$)";
constexpr std::string_view kHan = R"([一-龥ࠀ-一가-퟿]+)";
constexpr std::string_view kDigits = R"(\p{N}+)";
constexpr std::string_view kLineBreaks = R"([\r\n])";
constexpr std::string_view kUpToThreeDigits = R"(\p{N}{1,3})";
constexpr std::string_view kCjk = R"([一-龥぀-ゟ゠-ヿ]+)";
constexpr std::string_view kDeepSeek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view kWord = R"(\s?\p{L}+)";
constexpr std::string_view kMarks = R"(\s?\p{P}+)";
// What files without a name were made for: punctuation apart, digits in groups of three.
constexpr std::string_view kAnyPunctuation = R"([\p{P}\$\+<=>\^~\|]+)";
constexpr std::string_view kThreeDigits = R"([0-9][0-9][0-9])";

constexpr std::string_view kDefaultPatterns[] = {kAnyPunctuation, kGpt2, kDigits, kThreeDigits};
constexpr std::string_view kGpt2Patterns[] = {kGpt2};
constexpr std::string_view kLlama3Patterns[] = {kLlama3};
constexpr std::string_view kQwen2Patterns[] = {kQwen2};
constexpr std::string_view kQwen35Patterns[] = {kQwen35};
constexpr std::string_view kTekkenPatterns[] = {kTekken};
constexpr std::string_view kGpt4oPatterns[] = {kGpt4o};
constexpr std::string_view kStarCoderPatterns[] = {kOneDigit, kGpt2};
constexpr std::string_view kDeepSeekPatterns[] = {
    kLineBreaks, kLetters, kPunctuation, kTrailingSpace, kHan, kDigits};
constexpr std::string_view kDeepSeekCoderPatterns[] = {kLineBreaks, kWord, kMarks, kHan, kOneDigit};
constexpr std::string_view kDeepSeek3Patterns[] = {kUpToThreeDigits, kCjk, kDeepSeek3};

struct Entry {
  std::string_view name;
  std::span<const std::string_view> patterns;
  bool ignore_merges;
};

constexpr Entry kEntries[] = {
    {"default", kDefaultPatterns, false},
    {"gpt-2", kGpt2Patterns, false},
    {"phi-2", kGpt2Patterns, false},
    {"mpt", kGpt2Patterns, false},
    {"olmo", kGpt2Patterns, false},
    {"llama3", kLlama3Patterns, true},
    {"llama-v3", kLlama3Patterns, true},
    {"llama-bpe", kLlama3Patterns, true},
    {"falcon3", kLlama3Patterns, true},
    {"dbrx", kLlama3Patterns, false},
    {"smaug-bpe", kLlama3Patterns, false},
    {"qwen2", kQwen2Patterns, false},
    {"deepseek-r1-qwen", kQwen2Patterns, false},
    {"stablelm2", kQwen2Patterns, false},
    {"qwen35", kQwen35Patterns, false},
    {"tekken", kTekkenPatterns, true},
    {"gpt-4o", kGpt4oPatterns, false},
    {"llama4", kGpt4oPatterns, false},
    {"smollm", kStarCoderPatterns, false},
    {"starcoder", kStarCoderPatterns, false},
    {"refact", kStarCoderPatterns, false},
    {"command-r", kStarCoderPatterns, false},
    {"codeshell", kStarCoderPatterns, false},
    {"exaone", kStarCoderPatterns, false},
    {"deepseek-llm", kDeepSeekPatterns, false},
    {"deepseek-coder", kDeepSeekCoderPatterns, false},
    {"deepseek-v3", kDeepSeek3Patterns, false},
};

}  // namespace

StatusOr<PreTokenizer> FindPreTokenizer(std::string_view name) {
  for (const Entry& entry : kEntries) {
    if (entry.name == name || (name.empty() && entry.name == "default")) {
      return PreTokenizer{{entry.patterns.begin(), entry.patterns.end()}, entry.ignore_merges};
    }
  }
  return ErrorF(StatusCode::kUnimplemented, "tokenizer: unknown pre-tokenizer \"%s\"", name);
}

}  // namespace inferd::text_internal
