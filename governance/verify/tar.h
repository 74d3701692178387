// Tar archives (POSIX.1-1988 ustar) in the one form that evidence bundles have: regular files with
// safe names, mode 0444, owner 0, time 0, two blocks of zeros at the end. The same files give the
// same bytes, and no byte can change without the reader's seeing it or a file's content changing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace inferd {

inline constexpr size_t kTarBlockBytes = 512;
inline constexpr size_t kTarNameBytesMax = 100;
inline constexpr uint64_t kTarMemberBytesMax = uint64_t{1} << 32;
inline constexpr size_t kTarMembersMax = 1'000'000;

// 1 to kTarNameBytesMax of letters, digits, '.', '_', '-' and '/', no part of it empty or starting
// with '.': extracting it stays in the folder.
bool IsTarName(std::string_view name);

// Gets the archive's bytes in order; what it returns is passed on.
using ByteSink = std::function<Status(std::string_view bytes)>;

// One thread.
class TarWriter {
 public:
  explicit TarWriter(ByteSink sink) : sink_(std::move(sink)) {}

  // kInvalidArgument for a name that is none (IsTarName), or too many bytes.
  Status Add(std::string_view name, std::string_view content);
  // The end of the archive. Nothing may be added after it.
  Status Finish();

 private:
  ByteSink sink_;
};

// A file of an archive; views into its bytes.
struct TarMember {
  std::string_view name;
  std::string_view content;
};

// The files in their order. kDataLoss, with the offset, for anything that TarWriter does not write,
// and for a name that comes twice.
StatusOr<std::vector<TarMember>> ReadTar(std::string_view archive);

}  // namespace inferd
