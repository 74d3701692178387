#include "governance/verify/shard_reader.h"

#include <algorithm>

#include "governance/verify/tiles.h"

namespace inferd {

uint64_t WidthOfTile(uint64_t size, uint32_t level, uint64_t tile) {
  const uint64_t hashes = size >> (8 * level);
  const uint64_t first = tile * kTileWidth;
  return hashes <= first ? 0 : std::min(kTileWidth, hashes - first);
}

StatusOr<std::unique_ptr<ShardReader>> ShardReader::Open(FileSystem& files,
                                                         std::string folder,
                                                         TrustPolicy policy) {
  std::unique_ptr<ShardReader> reader(new ShardReader(files, std::move(folder), std::move(policy)));
  RETURN_IF_ERROR(reader->Reload());
  return reader;
}

StatusOr<std::unique_ptr<ShardReader>> ShardReader::OpenAt(FileSystem& files,
                                                           std::string folder,
                                                           TrustPolicy policy,
                                                           std::string note) {
  std::unique_ptr<ShardReader> reader(new ShardReader(files, std::move(folder), std::move(policy)));
  RETURN_IF_ERROR(reader->Take(std::move(note)));
  return reader;
}

Status ShardReader::Reload() {
  const std::string path = folder_ + '/' + std::string(kCheckpointFile);
  ASSIGN_OR_RETURN(std::string note, files_.Read(path, kNoteBytesMax));
  return Annotate(Take(std::move(note)), path);
}

Status ShardReader::Take(std::string note) {
  ASSIGN_OR_RETURN(opened_, policy_.OpenLog(note));
  note_ = std::move(note);
  tiles_.clear();
  return OkStatus();
}

StatusOr<uint64_t> ShardReader::Size() {
  RETURN_IF_ERROR(Reload());
  return opened_.checkpoint.size;
}

std::string ShardReader::BundleFile(uint64_t bundle) const {
  const uint64_t width = WidthOfTile(opened_.checkpoint.size, 0, bundle);
  return BundlePath(bundle, width == 0 ? kTileWidth : width);
}

std::string ShardReader::TileFile(uint32_t level, uint64_t tile) const {
  const uint64_t width = WidthOfTile(opened_.checkpoint.size, level, tile);
  return TilePath(level, tile, width == 0 ? kTileWidth : width);
}

StatusOr<std::string> ShardReader::ReadBundle(uint64_t bundle) {
  const uint64_t width = WidthOfTile(opened_.checkpoint.size, 0, bundle);
  if (width == 0) {
    return ErrorF(StatusCode::kOutOfRange, "%s: no bundle %d", origin(), bundle);
  }
  auto bytes = files_.Read(folder_ + '/' + BundlePath(bundle, width), kBundleBytesMax);
  if (bytes.ok() || width == kTileWidth || bytes.status().code() != StatusCode::kNotFound) {
    return bytes.ok()
               ? bytes
               : Status(StatusCode::kDataLoss, absl::StrFormat("%s", Message(bytes.status())));
  }
  // Written meanwhile to the end, and the partial one removed: its beginning is what we want.
  ASSIGN_OR_RETURN(const std::string full,
                   files_.Read(folder_ + '/' + BundlePath(bundle), kBundleBytesMax));
  ASSIGN_OR_RETURN(const auto leaves, ParseBundle(full, kTileWidth));
  std::string beginning;
  for (const std::string_view leaf : std::span(leaves).first(width)) {
    AppendEntry(beginning, leaf);
  }
  return beginning;
}

StatusOr<std::vector<Digest>> ShardReader::ReadTile(uint32_t level, uint64_t tile) {
  const uint64_t width = WidthOfTile(opened_.checkpoint.size, level, tile);
  if (width == 0) {
    return ErrorF(StatusCode::kOutOfRange, "%s: no tile %d of level %d", origin(), tile, level);
  }
  const std::string path = folder_ + '/' + TilePath(level, tile, width);
  auto bytes = files_.Read(path, kTileBytes);
  if (!bytes.ok() && width < kTileWidth && bytes.status().code() == StatusCode::kNotFound) {
    bytes = files_.Read(folder_ + '/' + TilePath(level, tile), kTileBytes);
    if (bytes.ok() && bytes->size() == kTileBytes) {
      bytes->resize(width * kHashBytes);
    }
  }
  if (!bytes.ok()) {
    return Status(StatusCode::kDataLoss, absl::StrFormat("%s", Message(bytes.status())));
  }
  auto hashes = ParseTile(*bytes, width);
  return hashes.ok() ? hashes : StatusOr<std::vector<Digest>>(Annotate(hashes.status(), path));
}

Status ShardReader::Visit(uint64_t first, uint64_t last, const Visitor& visit) {
  if (first > last || last > opened_.checkpoint.size) {
    return ErrorF(StatusCode::kOutOfRange,
                  "%s: leaves %d to %d, of %d",
                  origin(),
                  first,
                  last,
                  opened_.checkpoint.size);
  }
  while (first < last) {
    const uint64_t bundle = first / kTileWidth;
    ASSIGN_OR_RETURN(const std::string bytes, ReadBundle(bundle));
    const auto leaves = ParseBundle(bytes, WidthOfTile(opened_.checkpoint.size, 0, bundle));
    if (!leaves.ok()) {
      return Annotate(leaves.status(), folder_ + '/' + BundleFile(bundle));
    }
    const uint64_t end = std::min(last, (bundle + 1) * kTileWidth);
    for (; first < end; ++first) {
      RETURN_IF_ERROR(visit(first, (*leaves)[first % kTileWidth]));
    }
  }
  return OkStatus();
}

SubtreeHash ShardReader::Hashes() {
  return [this](uint32_t level, uint64_t index) -> StatusOr<Digest> {
    const uint32_t tile_level = level / 8;
    const uint32_t height = level % 8;  // above the tile's own hashes
    const uint64_t tile = index >> (8 - height);
    auto found = tiles_.find(tile_level);
    if (found == tiles_.end() || found->second.first != tile) {
      ASSIGN_OR_RETURN(auto hashes, ReadTile(tile_level, tile));
      found = tiles_.insert_or_assign(tile_level, std::pair(tile, std::move(hashes))).first;
    }
    const std::vector<Digest>& hashes = found->second.second;
    const uint64_t start = (index << height) % kTileWidth;
    const uint64_t width = uint64_t{1} << height;
    if (start + width > hashes.size()) {
      return ErrorF(
          StatusCode::kOutOfRange, "%s: the tile is not that wide", TileFile(level, tile));
    }
    return PerfectRoot(std::span(hashes).subspan(start, width));
  };
}

StatusOr<TileTree> ShardReader::ReadTree(uint64_t size) {
  std::vector<std::vector<Digest>> edges;
  for (uint32_t level = 0; level <= kTileLevelMax; ++level) {
    const uint64_t width = EdgeWidth(size, level);
    edges.emplace_back();
    if (width > 0) {
      ASSIGN_OR_RETURN(edges.back(), ReadTile(level, FullTiles(size, level)));
      if (edges.back().size() < width) {
        return ErrorF(StatusCode::kDataLoss, "level %d: the edge is too short", level);
      }
      edges.back().resize(width);
    }
  }
  return TileTree::From(size, std::move(edges));
}

}  // namespace inferd
