// A write-ahead log that a crash, or a stranger, left. Read whole and in two segments; the frames
// that are found must be written again as they were.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "governance/audit/wal_format.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inferd;  // NOLINT(google-build-using-namespace)
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const auto header = ParseWalHeader(bytes);
  const uint64_t number = header ? header->number : 0;
  for (const uint64_t first : {uint64_t{0}, uint64_t{3}}) {
    if (const auto contents = ReadWal({{number, bytes}}, first); contents.ok()) {
      CHECK(contents->frames >= contents->leaves.size());
    }
    (void)ReadWal({{number, bytes}, {number + 1, bytes.substr(size / 2)}}, first);
  }
  if (header) {
    const std::string_view rest = std::string_view(bytes).substr(kWalHeaderBytes);
    if (const auto frame = ParseWalFrame(rest, header->epoch)) {
      std::string again;
      AppendWalFrame(again, header->epoch, *frame);
      const size_t exact = kWalFrameHeaderBytes + frame->leaf.size();
      CHECK(again.substr(0, exact) == rest.substr(0, exact));
    }
  }
  return 0;
}
