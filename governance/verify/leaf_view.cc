#include "governance/verify/leaf_view.h"

#include <bit>
#include <cstddef>
#include <cstring>

#include "base/utf8.h"
#include "governance/verify/base64.h"

namespace inferd {
namespace {

constexpr size_t kNotFound = std::string_view::npos;

constexpr uint64_t kOnes = 0x0101010101010101;
constexpr uint64_t kHighBits = 0x8080808080808080;
constexpr size_t kWordBytes = sizeof(uint64_t);

uint64_t LoadWord(const char* bytes) {
  uint64_t word = 0;
  std::memcpy(&word, bytes, kWordBytes);
  return word;
}

static_assert(std::endian::native == std::endian::little);

// The high bit of each byte that is a quote, a backslash or a control character. Bytes behind the
// first such one may have it, too.
constexpr uint64_t SpecialBytes(uint64_t word) {
  const uint64_t quote = word ^ (kOnes * '"');
  const uint64_t escape = word ^ (kOnes * '\\');
  const uint64_t below_space = (word - kOnes * ' ') & ~word;
  return (((quote - kOnes) & ~quote) | ((escape - kOnes) & ~escape) | below_space) & kHighBits;
}

// A cursor over canonical JSON. Every Take moves behind what it names, or says false.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool AtEnd() const { return at_ == text_.size(); }
  size_t at() const { return at_; }
  std::string_view Since(size_t start) const { return text_.substr(start, at_ - start); }

  bool Take(char c) {
    if (at_ < text_.size() && text_[at_] == c) {
      ++at_;
      return true;
    }
    return false;
  }

  bool TakeString(std::string_view& inside) {
    if (!Take('"')) {
      return false;
    }
    const size_t start = at_;
    while (true) {
      SkipPlainWords();
      const char* const end = text_.data() + text_.size();
      const char* at = text_.data() + at_;
      while (at != end && *at != '"' && *at != '\\' && static_cast<uint8_t>(*at) >= ' ') {
        ++at;
      }
      at_ = static_cast<size_t>(at - text_.data());
      if (at == end || static_cast<uint8_t>(*at) < ' ') {
        return false;
      }
      if (*at == '"') {
        inside = Since(start);
        ++at_;
        return true;
      }
      if (!TakeEscape()) {
        return false;
      }
    }
  }

  // An integer of at most 2^53-1.
  bool TakeInteger(uint64_t& value) {
    const size_t start = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      ++at_;
    }
    const auto parsed = ParseDecimal(Since(start));
    if (!parsed.ok() || *parsed >> 53 != 0) {
      return false;
    }
    value = *parsed;
    return true;
  }

  // Any value. `depth` is that of the value.
  bool TakeValue(int depth) {
    std::string_view text;
    uint64_t number = 0;
    switch (at_ < text_.size() ? text_[at_] : '\0') {
      case '"':
        return TakeString(text);
      case '{':
        return TakeObject(depth, [this, depth](std::string_view) { return TakeValue(depth + 1); });
      case '[':
        return TakeArray(depth);
      default:
        return TakeInteger(number);
    }
  }

  // An object whose members `value(key)` takes; keys must be sorted.
  template <typename TakeMember>
  bool TakeObject(int depth, const TakeMember& value) {
    if (depth > kLeafDepthMax || !Take('{')) {
      return false;
    }
    if (Take('}')) {
      return true;
    }
    std::string_view last;
    for (bool first = true;; first = false) {
      std::string_view key;
      if (!TakeString(key) || (!first && key <= last) || !Take(':') || !value(key)) {
        return false;
      }
      last = key;
      if (!Take(',')) {
        return Take('}');
      }
    }
  }

 private:
  // Inside a string: on to its first byte that is not plain, eight bytes at a time as far as that
  // goes. Most of a leaf is the inside of strings.
  void SkipPlainWords() {
    for (; at_ + kWordBytes <= text_.size(); at_ += kWordBytes) {
      const uint64_t special = SpecialBytes(LoadWord(&text_[at_]));
      if (special != 0) {
        at_ += static_cast<size_t>(std::countr_zero(special)) / 8;
        return;
      }
    }
  }

  bool TakeArray(int depth) {
    if (depth > kLeafDepthMax || !Take('[')) {
      return false;
    }
    if (Take(']')) {
      return true;
    }
    do {
      if (!TakeValue(depth + 1)) {
        return false;
      }
    } while (Take(','));
    return Take(']');
  }

  // The escapes that JCS writes: the short ones, and \u00xx for control characters that have none.
  bool TakeEscape() {
    const std::string_view rest = text_.substr(at_ + 1);
    if (rest.empty()) {
      return false;
    }
    if (std::string_view("\"\\bfnrt").find(rest[0]) != kNotFound) {
      at_ += 2;
      return true;
    }
    if (rest.size() < 5 || rest.substr(0, 3) != "u00" || (rest[3] != '0' && rest[3] != '1') ||
        std::string_view("0123456789abcdef").find(rest[4]) == kNotFound) {
      return false;
    }
    const bool has_short_form =
        rest[3] == '0' && std::string_view("89acd").find(rest[4]) != kNotFound;
    if (has_short_form) {
      return false;
    }
    at_ += 6;
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
};

bool ParseTprev(std::string_view text, Digest& digest) {
  constexpr std::string_view kPrefix = "sha256:";
  if (!text.starts_with(kPrefix)) {
    return false;
  }
  const auto parsed = Digest::FromHex(text.substr(kPrefix.size()));
  if (!parsed.ok()) {
    return false;
  }
  digest = *parsed;
  return true;
}

// Takes members of the leaf and keeps those that LeafView has.
class LeafMembers {
 public:
  LeafMembers(Scanner& scanner, LeafView& leaf) : scanner_(scanner), leaf_(leaf) {}

  bool Take(std::string_view key) {
    switch (key.size()) {  // most keys of a leaf end here
      case 1:
        return key == "t" ? TakeType() : key == "d" ? TakeRaw(leaf_.detail) : Skip();
      case 2:
        return key == "ts" ? TakeText(leaf_.ts) : Skip();
      case 3:
        return key == "adm"   ? scanner_.TakeInteger(leaf_.adm.emplace())
               : key == "rid" ? TakeText(leaf_.rid)
                              : Skip();
      case 4:
        return key == "boot"   ? TakeText(leaf_.boot)
               : key == "mono" ? TakeMono()
               : key == "tseq" ? TakeSequence()
                               : Skip();
      case 5:
        return key == "quota" ? TakeQuota() : key == "tprev" ? TakeTprev() : Skip();
      case 6:
        return key == "tenant"   ? TakeText(leaf_.tenant)
               : key == "settle" ? TakeRaw(leaf_.settled)
                                 : Skip();
      default:
        return key == "adm_origin" ? scanner_.TakeString(leaf_.adm_origin) : Skip();
    }
  }

  // boot, mono, rid, t, tenant, tprev, ts, tseq; keys are sorted, so none counts twice.
  bool complete() const { return required_ == 8; }

 private:
  // A member that every leaf has.
  bool TakeText(std::string_view& text) {
    ++required_;
    return scanner_.TakeString(text);
  }
  bool TakeType() {
    const bool taken = TakeText(leaf_.type_name);
    leaf_.type = LeafTypeFromName(leaf_.type_name);
    return taken;
  }
  bool TakeMono() {
    std::string_view text;
    if (!TakeText(text)) {
      return false;
    }
    const auto mono = ParseDecimal(text);
    leaf_.mono_ns = mono.value_or(0);
    return mono.ok();
  }
  bool TakeTprev() {
    std::string_view text;
    return TakeText(text) && ParseTprev(text, leaf_.tprev);
  }
  bool TakeSequence() {
    ++required_;
    return scanner_.TakeInteger(leaf_.tseq);
  }
  bool TakeQuota() {
    return scanner_.TakeObject(2, [this](std::string_view inner) {
      std::string_view ignored;
      std::string_view& raw = inner == "res"    ? leaf_.reserved
                              : inner == "acct" ? leaf_.account
                              : inner == "win"  ? leaf_.window
                                                : ignored;
      return TakeRaw(raw, 3);
    });
  }
  bool Skip() { return scanner_.TakeValue(2); }
  // A value as it stands in the leaf.
  bool TakeRaw(std::string_view& raw, int depth = 2) {
    const size_t start = scanner_.at();
    const bool taken = scanner_.TakeValue(depth);
    raw = scanner_.Since(start);
    return taken;
  }

  Scanner& scanner_;
  LeafView& leaf_;
  int required_ = 0;
};

bool IsAscii(std::string_view text) {
  uint64_t all = 0;
  while (text.size() >= kWordBytes) {
    all |= LoadWord(text.data());
    text.remove_prefix(kWordBytes);
  }
  for (const char c : text) {
    all |= static_cast<uint8_t>(c);
  }
  return (all & kHighBits) == 0;
}

}  // namespace

StatusOr<LeafView> ParseLeaf(std::string_view leaf) {
  if (leaf.size() > kLeafBytesMax) {
    return ErrorF(
        StatusCode::kDataLoss, "a leaf of %d bytes, at most %d", leaf.size(), kLeafBytesMax);
  }
  if (!IsAscii(leaf) && !IsValidUtf8(leaf)) {
    return ErrorF(StatusCode::kDataLoss, "the leaf is not UTF-8");
  }
  LeafView view;
  Scanner scanner(leaf);
  LeafMembers members(scanner, view);
  if (!scanner.TakeObject(1, [&members](std::string_view key) { return members.Take(key); }) ||
      !scanner.AtEnd()) {
    return ErrorF(
        StatusCode::kDataLoss, "the leaf is not canonical JSON: look at its byte %d", scanner.at());
  }
  if (!members.complete()) {
    return ErrorF(StatusCode::kDataLoss, "the leaf lacks members that every leaf has");
  }
  return view;
}

}  // namespace inferd
