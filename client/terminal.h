// Where a command reads and writes. Data goes to `out`, everything else to `err`.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>

#include "base/status.h"
#include "client/exit_code.h"

namespace inferd {

// The streams outlive it. Tests give string streams and no terminal.
struct Terminal {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool in_is_tty = false;
  bool out_is_tty = false;
  bool err_is_tty = false;
  bool color = false;  // of messages on err
};

// Prints `error: ...` and, if there is any, the advice below it.
void PrintError(Terminal& terminal, std::string_view message, std::string_view advice = "");

// Generated text as it may go to `out`: unchanged, but on a terminal without the control characters
// that could steer it (new line and tab stay). `text` holds whole code points.
std::string Printable(std::string_view text, const Terminal& terminal);

// Standard input up to its end. kResourceExhausted above kInputBytesMax.
inline constexpr size_t kInputBytesMax = size_t{64} << 20;
StatusOr<std::string> ReadInput(std::istream& in);

}  // namespace inferd
