#include "model/printable.h"

namespace inferd {

std::string Quoted(std::string_view text) {
  constexpr size_t kShownMax = 80;
  constexpr char kHex[] = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text.substr(0, kShownMax)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '"' && c != '\\') {
      result += c;
    } else {
      result += "\\x";
      result += kHex[byte >> 4];
      result += kHex[byte & 15];
    }
  }
  result += text.size() > kShownMax ? "\"..." : "\"";
  return result;
}

}  // namespace inferd
