#include "client/terminal.h"

#include <algorithm>
#include <array>
#include <istream>
#include <ostream>

#include "base/utf8.h"

namespace inferd {
namespace {

// C0 but for new line and tab, DEL, and the C1 controls U+0080 to U+009F, which are two bytes.
bool SteersTerminal(std::string_view code_point) {
  const auto first = static_cast<unsigned char>(code_point.front());
  if (code_point.size() == 1) {
    return (first < 0x20 && first != '\n' && first != '\t') || first >= 0x7f;
  }
  return code_point.size() == 2 && first == 0xc2 &&
         static_cast<unsigned char>(code_point[1]) < 0xa0;
}

}  // namespace

void PrintError(Terminal& terminal, std::string_view message, std::string_view advice) {
  terminal.err << (terminal.color ? "\033[1;31merror:\033[0m " : "error: ") << message << '\n';
  if (!advice.empty()) {
    terminal.err << advice << '\n';
  }
  terminal.err.flush();
}

std::string Printable(std::string_view text, const Terminal& terminal) {
  if (!terminal.out_is_tty) {
    return std::string(text);
  }
  std::string printable;
  while (!text.empty()) {
    const size_t size = std::max<size_t>(Utf8CodePointLength(text), 1);
    if (!SteersTerminal(text.substr(0, size))) {
      printable += text.substr(0, size);
    }
    text.remove_prefix(size);
  }
  return printable;
}

StatusOr<std::string> ReadInput(std::istream& in) {
  std::string text;
  std::array<char, 65536> buffer;
  while (in.read(buffer.data(), buffer.size()) || in.gcount() > 0) {
    text.append(buffer.data(), static_cast<size_t>(in.gcount()));
    if (text.size() > kInputBytesMax) {
      return ErrorF(StatusCode::kResourceExhausted,
                    "standard input has more than %d bytes; give less at once",
                    kInputBytesMax);
    }
  }
  return text;
}

}  // namespace inferd
