#include "cuda/packed_weights.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/crc32c.h"
#include "cuda/host_device.h"

namespace inferd::cuda_internal {
namespace {

// Planes are little-endian words.
void PutBits(uint8_t* plane, int width, PlanePlace place, uint32_t value) {
  uint8_t& byte = plane[place.byte + place.bit / 8];
  const int shift = place.bit % 8;
  const uint32_t mask = ((1u << width) - 1u) << shift;
  byte = static_cast<uint8_t>((byte & ~mask) | (value << shift & mask));
}

uint32_t GetBits(const uint8_t* plane, int width, PlanePlace place) {
  return uint32_t{plane[place.byte + place.bit / 8]} >> (place.bit % 8) & ((1u << width) - 1u);
}

void PutHalf(uint8_t* plane, int index, uint16_t half) { std::memcpy(plane + 2 * index, &half, 2); }

uint16_t GetHalf(const uint8_t* plane, int index) {
  uint16_t half;
  std::memcpy(&half, plane + 2 * index, 2);
  return half;
}

void PutScale(const WeightFormat& format, uint8_t* plane, int row, int group, uint16_t value) {
  const int index = ScaleIndex(format, row, group);
  if (format.scale == ScaleKind::kHalf) {
    PutHalf(plane, index, value);
  } else {
    plane[index] = static_cast<uint8_t>(value);
  }
}

uint16_t GetScale(const WeightFormat& format, const uint8_t* plane, int row, int group) {
  const int index = ScaleIndex(format, row, group);
  return format.scale == ScaleKind::kHalf ? GetHalf(plane, index) : uint16_t{plane[index]};
}

void WriteCodes(int bits, int row, const uint8_t* codes, uint8_t* record) {
  for (int plane = 0; plane < NumPlanes(bits); ++plane) {
    const int width = PlaneWidth(bits, plane);
    for (int i = 0; i < kBlockValues; ++i) {
      PutBits(record + PlaneAt(plane),
              width,
              PlaceInPlane(width, row, i),
              uint32_t{codes[i]} >> PlaneShift(plane));
    }
  }
}

void ReadCodes(int bits, int row, const uint8_t* record, uint8_t* codes) {
  std::memset(codes, 0, kBlockValues);
  for (int plane = 0; plane < NumPlanes(bits); ++plane) {
    const int width = PlaneWidth(bits, plane);
    for (int i = 0; i < kBlockValues; ++i) {
      const uint32_t part = GetBits(record + PlaneAt(plane), width, PlaceInPlane(width, row, i))
                            << PlaneShift(plane);
      codes[i] = static_cast<uint8_t>(codes[i] | part);
    }
  }
}

// The code of integer 0, for columns past K.
uint8_t PadCode(const WeightFormat& format, const RowBlock& values, int i) {
  switch (format.zero) {
    case ZeroKind::kSymmetric:
      return format.bits == 8 ? uint8_t{0} : static_cast<uint8_t>(1 << (format.bits - 1));
    case ZeroKind::kZeroPoint:
      return values.zero[i / format.group];
    case ZeroKind::kMinimum:
      break;  // their activations are zero, and so is the sum that the minimum multiplies
  }
  return 0;
}

// The file.
constexpr std::string_view kMagic = "infgpuw1";
constexpr size_t kHeaderBytes = 64;
constexpr size_t kHeaderCrcAt = 60;

size_t ChecksumBytes(int64_t tiles) { return (static_cast<size_t>(tiles) * 4 + 63) / 64 * 64; }

template <typename T>
void Put(std::string& bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

template <typename T>
T Get(std::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

}  // namespace

float RowBlock::Scale(const WeightFormat& format, int group) const {
  if (format.scale == ScaleKind::kHalf) {
    return FloatFromHalf(scale[group]);
  }
  return Mul(FloatFromHalf(d), static_cast<float>(static_cast<int8_t>(scale[group])));
}

float RowBlock::Minimum(const WeightFormat& format, int group) const {
  if (!format.HasMinimum()) {
    return 0.0f;
  }
  if (format.scale == ScaleKind::kHalf) {
    return FloatFromHalf(minimum[group]);
  }
  return Mul(-FloatFromHalf(d_minimum), static_cast<float>(static_cast<int8_t>(minimum[group])));
}

int RowBlock::Integer(const WeightFormat& format, int i) const {
  switch (format.zero) {
    case ZeroKind::kSymmetric:
      return format.bits == 8 ? static_cast<int8_t>(codes[i]) : codes[i] - (1 << (format.bits - 1));
    case ZeroKind::kZeroPoint:
      return codes[i] - zero[i / format.group];
    case ZeroKind::kMinimum:
      break;
  }
  return format.bits == 8 ? static_cast<int8_t>(codes[i]) : codes[i];
}

PackedWeights::PackedWeights(const WeightFormat& format, int64_t n, int64_t k)
    : format_(format), n_(n), k_(k) {
  CHECK(format.IsValid());
  CHECK(n >= 1 && n <= kRowsMax && k >= 1 && k <= kColsMax);
  bytes_.resize(static_cast<size_t>(NumTiles(n) * format.TileBytes(k)));
}

std::span<const uint8_t> PackedWeights::Tile(int64_t tile) const {
  CHECK(tile >= 0 && tile < NumTiles(n_));
  const int64_t size = format_.TileBytes(k_);
  return bytes().subspan(static_cast<size_t>(tile * size), static_cast<size_t>(size));
}

void PackedWeights::Write(int64_t row, int64_t block, RowBlock values) {
  CHECK(row >= 0 && row < PadN(n_) && block >= 0 && block < NumBlocks(k_));
  uint8_t* tile = MutableTile(row / kTileRows);
  uint8_t* record = tile + block * format_.RecordBytes();
  const auto r = static_cast<int>(row % kTileRows);
  const int64_t first = block * kBlockValues;
  for (auto i = static_cast<int>(std::clamp<int64_t>(k_ - first, 0, kBlockValues));
       i < kBlockValues;
       ++i) {
    values.codes[i] = PadCode(format_, values, i);
  }
  WriteCodes(format_.bits, r, values.codes, record);
  for (int g = 0; g < format_.GroupsPerBlock(); ++g) {
    PutScale(format_, record + format_.ScaleAt(), r, g, values.scale[g]);
    if (format_.HasMinimum()) {
      PutScale(format_, record + format_.MinimumAt(), r, g, values.minimum[g]);
    }
    if (format_.zero == ZeroKind::kZeroPoint) {
      const PlanePlace place{.byte = ZeroIndex(format_, r, g), .bit = r / 8 * 4};
      PutBits(record + format_.ZeroAt(), 4, place, values.zero[g]);
    }
  }
  if (format_.scale == ScaleKind::kSuperBlock) {
    uint8_t* factors = tile + format_.FactorsAt(k_) + block / 2 * format_.FactorBytes();
    PutHalf(factors, FactorIndex(r), values.d);
    if (format_.HasMinimum()) {
      PutHalf(factors + 32, FactorIndex(r), values.d_minimum);
    }
  }
}

RowBlock PackedWeights::Read(int64_t row, int64_t block) const {
  CHECK(row >= 0 && row < PadN(n_) && block >= 0 && block < NumBlocks(k_));
  const uint8_t* tile = Tile(row / kTileRows).data();
  const uint8_t* record = tile + block * format_.RecordBytes();
  const auto r = static_cast<int>(row % kTileRows);
  RowBlock values;
  ReadCodes(format_.bits, r, record, values.codes);
  for (int g = 0; g < format_.GroupsPerBlock(); ++g) {
    values.scale[g] = GetScale(format_, record + format_.ScaleAt(), r, g);
    if (format_.HasMinimum()) {
      values.minimum[g] = GetScale(format_, record + format_.MinimumAt(), r, g);
    }
    if (format_.zero == ZeroKind::kZeroPoint) {
      const PlanePlace place{.byte = ZeroIndex(format_, r, g), .bit = r / 8 * 4};
      values.zero[g] = static_cast<uint8_t>(GetBits(record + format_.ZeroAt(), 4, place));
    }
  }
  if (format_.scale == ScaleKind::kSuperBlock) {
    const uint8_t* factors = tile + format_.FactorsAt(k_) + block / 2 * format_.FactorBytes();
    values.d = GetHalf(factors, FactorIndex(r));
    values.d_minimum = format_.HasMinimum() ? GetHalf(factors + 32, FactorIndex(r)) : uint16_t{0};
  }
  return values;
}

std::vector<float> PackedWeights::DequantizeRow(int64_t row) const {
  std::vector<float> values(static_cast<size_t>(k_));
  for (int64_t block = 0; block < NumBlocks(k_); ++block) {
    const RowBlock source = Read(row, block);
    const int64_t first = block * kBlockValues;
    const auto count = static_cast<int>(std::min<int64_t>(kBlockValues, k_ - first));
    for (int i = 0; i < count; ++i) {
      const int group = i / format_.group;
      const auto integer = static_cast<float>(source.Integer(format_, i));
      const float scaled = Mul(source.Scale(format_, group), integer);
      values[static_cast<size_t>(first + i)] =
          format_.HasMinimum() ? Add(scaled, source.Minimum(format_, group)) : scaled;
    }
  }
  return values;
}

std::string PackedWeights::Serialize() const {
  const int64_t tiles = NumTiles(n_);
  std::string file(kHeaderBytes + ChecksumBytes(tiles), '\0');
  std::memcpy(file.data(), kMagic.data(), kMagic.size());
  Put<uint8_t>(file, 8, static_cast<uint8_t>(format_.bits));
  Put<uint8_t>(file, 9, static_cast<uint8_t>(format_.group));
  Put<uint8_t>(file, 10, static_cast<uint8_t>(format_.zero));
  Put<uint8_t>(file, 11, static_cast<uint8_t>(format_.scale));
  Put<int64_t>(file, 16, n_);
  Put<int64_t>(file, 24, k_);
  Put<uint32_t>(file, kHeaderCrcAt, Crc32c(std::string_view(file).substr(0, kHeaderCrcAt)));
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const auto bytes = Tile(tile);
    Put<uint32_t>(file,
                  kHeaderBytes + static_cast<size_t>(tile) * 4,
                  Crc32c({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  }
  file.append(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
  return file;
}

StatusOr<PackedWeights> PackedWeights::Parse(std::string_view file) {
  const auto refused = [](const char* why) {
    return ErrorF(StatusCode::kInvalidArgument, "not packed weights of this version: %s", why);
  };
  if (file.size() < kHeaderBytes || file.substr(0, kMagic.size()) != kMagic) {
    return refused("no such header");
  }
  if (Get<uint32_t>(file, kHeaderCrcAt) != Crc32c(file.substr(0, kHeaderCrcAt))) {
    return ErrorF(StatusCode::kDataLoss, "packed weights: the header's checksum does not match");
  }
  const WeightFormat format{.bits = Get<uint8_t>(file, 8),
                            .group = Get<uint8_t>(file, 9),
                            .zero = static_cast<ZeroKind>(Get<uint8_t>(file, 10)),
                            .scale = static_cast<ScaleKind>(Get<uint8_t>(file, 11))};
  if (format.zero > ZeroKind::kMinimum || format.scale > ScaleKind::kSuperBlock ||
      !format.IsValid()) {
    return refused("an unknown weight format");
  }
  const auto n = Get<int64_t>(file, 16);
  const auto k = Get<int64_t>(file, 24);
  if (n < 1 || n > kRowsMax || k < 1 || k > kColsMax) {
    return refused("a shape out of bounds");
  }
  const int64_t tiles = NumTiles(n);
  const size_t data_at = kHeaderBytes + ChecksumBytes(tiles);
  const auto tile_bytes = static_cast<size_t>(format.TileBytes(k));
  if (file.size() != data_at + static_cast<size_t>(tiles) * tile_bytes) {
    return ErrorF(
        StatusCode::kDataLoss, "packed weights: %d bytes do not fit [%d, %d]", file.size(), n, k);
  }
  PackedWeights weights(format, n, k);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const auto index = static_cast<size_t>(tile);
    const auto bytes = file.substr(data_at + index * tile_bytes, tile_bytes);
    if (Get<uint32_t>(file, kHeaderBytes + index * 4) != Crc32c(bytes)) {
      return ErrorF(StatusCode::kDataLoss, "packed weights: tile %d is damaged", tile);
    }
    std::memcpy(weights.MutableTile(tile), bytes.data(), bytes.size());
  }
  return weights;
}

}  // namespace inferd::cuda_internal
