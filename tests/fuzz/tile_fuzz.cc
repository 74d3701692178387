// Hash tiles of strangers, as the edge of a tree: the first two bytes say how large it claims to
// be.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "governance/verify/tile_tree.h"
#include "governance/verify/tiles.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inferd;  // NOLINT(google-build-using-namespace)
  if (size < 2) {
    return 0;
  }
  const uint64_t claimed = uint64_t{data[0]} << 8 | data[1];
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const auto hashes = ParseTile(bytes, EdgeWidth(claimed, 0));
  if (!hashes.ok()) {
    return 0;
  }
  CHECK(EncodeTile(*hashes) == bytes);
  auto tree = TileTree::From(claimed, {*hashes, std::vector<Digest>(EdgeWidth(claimed, 1))});
  CHECK(tree.ok());
  (void)tree->Root();
  for (int i = 0; i < 300; ++i) {
    CHECK(tree->Append(Digest(), [](auto, auto, auto) { return OkStatus(); }).ok());
  }
  CHECK(tree->size() == claimed + 300);
  (void)tree->Root();
  return 0;
}
