#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "client/commands.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  std::cin.tie(nullptr);
  // gRPC's own messages would stand among ours; who wants them says so.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  const char* const no_color = std::getenv("NO_COLOR");
  inferd::Terminal terminal{
      .in = std::cin,
      .out = std::cout,
      .err = std::cerr,
      .in_is_tty = isatty(STDIN_FILENO) != 0,
      .out_is_tty = isatty(STDOUT_FILENO) != 0,
      .err_is_tty = isatty(STDERR_FILENO) != 0,
      .color = isatty(STDERR_FILENO) != 0 && (no_color == nullptr || *no_color == '\0')};
  return static_cast<int>(inferd::RunInferctl({argv + 1, argv + argc}, terminal));
}
