#include "text/pre_tokenizer.h"

#include <algorithm>

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
// DeepSeek's own list of the letters that have case.
constexpr std::string_view kLetters =
    R"(\s?[)"
    R"(\x{41}-\x{5A}\x{61}-\x{7A}\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA})"
    R"(\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377})"
    R"(\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5})"
    R"(\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5})"
    R"(\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77})"
    R"(\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D})"
    R"(\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4})"
    R"(\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3})"
    R"(\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107})"
    R"(\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D})"
    R"(\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184})"
    R"(\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D})"
    R"(\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF})"
    R"(\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A})"
    R"(\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2})"
    R"(\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943})"
    R"(]+)";
// ASCII, full-width, quotation marks, ideographic space and stops.
constexpr std::string_view kPunctuation =
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)";
constexpr std::string_view kTrailingSpace = R"(\s+$)";
constexpr std::string_view kHan = R"([\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";
constexpr std::string_view kDigits = R"(\p{N}+)";
constexpr std::string_view kLineBreaks = R"([\r\n])";
constexpr std::string_view kUpToThreeDigits = R"(\p{N}{1,3})";
constexpr std::string_view kCjk = R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
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
    {"pixtral", kLlama3Patterns, true},
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

StatusOr<PreTokenizer> FindPreTokenizer(std::span<const std::string> patterns, bool ignore_merges) {
  for (const std::string& pattern : patterns) {
    const bool known = std::any_of(std::begin(kEntries), std::end(kEntries), [&](const Entry& e) {
      return std::find(e.patterns.begin(), e.patterns.end(), pattern) != e.patterns.end();
    });
    if (!known) {
      return ErrorF(StatusCode::kUnimplemented,
                    "tokenizer: a pre-tokenizer that is not known: \"%s\"",
                    pattern.substr(0, 200));
    }
  }
  return PreTokenizer{{patterns.begin(), patterns.end()}, ignore_merges};
}

}  // namespace inferd::text_internal
