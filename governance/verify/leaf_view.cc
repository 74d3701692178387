#include "governance/verify/leaf_view.h"

#include <array>
#include <charconv>
#include <cstddef>

#include "base/utf8.h"
#include "governance/verify/base64.h"

namespace inferd {
namespace {

constexpr size_t kNotFound = std::string_view::npos;

// What a byte is within a string.
enum ByteKind : uint8_t { kPlain, kQuote, kEscape, kControl };

constexpr std::array<ByteKind, 256> ByteKinds() {
  std::array<ByteKind, 256> kinds{};
  for (int c = 0; c < 0x20; ++c) {
    kinds[static_cast<size_t>(c)] = kControl;
  }
  kinds['"'] = kQuote;
  kinds['\\'] = kEscape;
  return kinds;
}
constexpr std::array<ByteKind, 256> kByteKinds = ByteKinds();

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
    while (at_ < text_.size()) {
      switch (kByteKinds[static_cast<uint8_t>(text_[at_])]) {
        case kPlain:
          ++at_;
          break;
        case kQuote:
          inside = Since(start);
          ++at_;
          return true;
        case kEscape:
          if (!TakeEscape()) {
            return false;
          }
          break;
        case kControl:
          return false;
      }
    }
    return false;
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

  // The escapes that JCS writes: the short ones, and \u00xx for other control characters.
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
    if (key == "t" || key == "tenant" || key == "tprev" || key == "ts") {
      return TakeText(key);
    }
    if (key == "tseq") {
      ++required_;
      return scanner_.TakeInteger(leaf_.tseq);
    }
    if (key == "adm") {
      return scanner_.TakeInteger(leaf_.adm.emplace());
    }
    if (key == "boot" || key == "rid" || key == "mono" || key == "adm_origin") {
      return TakeText(key);
    }
    if (key == "quota") {
      return scanner_.TakeObject(2, [this](std::string_view inner) {
        const size_t start = scanner_.at();
        const bool taken = scanner_.TakeValue(3);
        if (inner == "res") {
          leaf_.reserved = scanner_.Since(start);
        }
        return taken;
      });
    }
    const size_t start = scanner_.at();
    const bool taken = scanner_.TakeValue(2);
    if (key == "d") {
      leaf_.detail = scanner_.Since(start);
    }
    return taken;
  }

  // boot, mono, rid, t, tenant, tprev, ts, tseq; keys are sorted, so none counts twice.
  bool complete() const { return required_ == 8; }

 private:
  bool TakeText(std::string_view key) {
    std::string_view text;
    if (!scanner_.TakeString(text)) {
      return false;
    }
    required_ += key == "adm_origin" ? 0 : 1;
    if (key == "t") {
      leaf_.type_name = text;
      leaf_.type = LeafTypeFromName(text);
    } else if (key == "tenant") {
      leaf_.tenant = text;
    } else if (key == "tprev") {
      return ParseTprev(text, leaf_.tprev);
    } else if (key == "ts") {
      leaf_.ts = text;
    } else if (key == "boot") {
      leaf_.boot = text;
    } else if (key == "rid") {
      leaf_.rid = text;
    } else if (key == "mono") {
      const auto mono = ParseDecimal(text);
      leaf_.mono_ns = mono.value_or(0);
      return mono.ok();
    } else {
      leaf_.adm_origin = text;
    }
    return true;
  }

  Scanner& scanner_;
  LeafView& leaf_;
  int required_ = 0;
};

bool IsAscii(std::string_view text) {
  uint8_t all = 0;
  for (const char c : text) {
    all = static_cast<uint8_t>(all | static_cast<uint8_t>(c));
  }
  return all < 0x80;
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
