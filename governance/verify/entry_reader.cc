#include "governance/verify/entry_reader.h"

namespace inferd {

StatusOr<std::string> EntryReader::Read(uint64_t index) {
  std::string found;
  RETURN_IF_ERROR(Visit(index, index + 1, [&found](uint64_t, std::string_view leaf) {
    found = leaf;
    return OkStatus();
  }));
  return found;
}

}  // namespace inferd
