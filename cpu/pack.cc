#include "cpu/pack.h"

#include <algorithm>
#include <cstring>

#include "base/half.h"
#include "model/quant_block.h"

namespace inferd::cpu_internal {
namespace {

uint16_t Load16(const uint8_t* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

uint8_t Byte(unsigned value) { return static_cast<uint8_t>(value); }

// Planes of one row into a record that is zero there. `codes` are the record's 32.
void WriteNibbles(const uint8_t* codes, int row, uint8_t* plane) {
  for (int k = 0; k < 16; ++k) {
    plane[64 * (k / 4) + 4 * row + k % 4] = Byte((codes[k] & 15u) | (codes[k + 16] & 15u) << 4);
  }
}

void WritePairs(const uint8_t* codes, int shift, int row, uint8_t* plane) {
  for (int k = 0; k < kRecordValues; ++k) {
    uint8_t& byte = plane[64 * (k / 16) + 4 * row + k % 4];
    byte = Byte(byte | ((codes[k] >> shift) & 3u) << (2 * (k / 4 % 4)));
  }
}

void WriteBits(const uint8_t* codes, int shift, int row, uint8_t* plane) {
  for (int k = 0; k < kRecordValues; ++k) {
    uint8_t& byte = plane[4 * row + k % 4];
    byte = Byte(byte | ((codes[k] >> shift) & 1u) << (k / 4));
  }
}

void WriteCodes(int code_bits, const uint8_t* codes, int row, uint8_t* record) {
  switch (code_bits) {
    case 2:
      return WritePairs(codes, 0, row, record);
    case 3:
      WritePairs(codes, 0, row, record);
      return WriteBits(codes, 2, row, record + 128);
    case 4:
      return WriteNibbles(codes, row, record);
    case 5:
      WriteNibbles(codes, row, record);
      return WriteBits(codes, 4, row, record + 256);
    case 6:
      WriteNibbles(codes, row, record);
      return WritePairs(codes, 4, row, record + 256);
    default:
      for (int k = 0; k < kRecordValues; ++k) {
        record[64 * (k / 4) + 4 * row + k % 4] = codes[k];
      }
  }
}

void WriteBlock(const TileFormat& format, const QuantBlock& source, int row, uint8_t* block) {
  const auto lane = static_cast<size_t>(row);
  const int num_records = format.RecordsPerBlock();
  for (int r = 0; r < num_records; ++r) {
    uint8_t* record = block + r * format.RecordBytes();
    const auto index = static_cast<size_t>(r);
    WriteCodes(format.code_bits, source.codes.data() + kRecordValues * index, row, record);
    uint8_t* scales = record + format.CodeBytes();
    if (!format.super_block) {
      std::memcpy(scales + 2 * lane, &source.d, 2);
      if (format.minimum) {
        std::memcpy(scales + 32 + 2 * lane, &source.d_minimum, 2);
      }
    } else if (format.group_values == 32) {
      scales[lane] = source.scales[index];
      scales[16 + lane] = source.minima[index];
    } else {
      scales[lane] = source.scales[2 * index];
      scales[16 + lane] = source.scales[2 * index + 1];
    }
  }
  if (format.super_block) {
    uint8_t* tail = block + num_records * format.RecordBytes();
    std::memcpy(tail + 2 * lane, &source.d, 2);
    if (format.minimum) {
      std::memcpy(tail + 32 + 2 * lane, &source.d_minimum, 2);
    }
  }
}

int FloatBytes(QuantFormat format) { return format == QuantFormat::kF32 ? 4 : 2; }

int64_t PaddedFloats(int64_t k) { return (k + kFloatLanes - 1) / kFloatLanes * kFloatLanes; }

void UnpackNibbles(const uint8_t* plane, uint8_t* codes) {
  for (int i = 0; i < 256; ++i) {
    codes[i] = plane[i] & 15u;
    codes[i + 256] = Byte(plane[i] >> 4);
  }
}

// Adds to each code the 2 (1) bits of its quad in the planes of pairs (bits).
void AddPairs(const uint8_t* planes, int shift, uint8_t* codes) {
  for (int quad = 0; quad < 8; ++quad) {
    for (int i = 0; i < 64; ++i) {
      uint8_t& code = codes[64 * quad + i];
      code = Byte(code | ((planes[64 * (quad / 4) + i] >> (2 * (quad % 4))) & 3u) << shift);
    }
  }
}

void AddBits(const uint8_t* plane, int shift, uint8_t* codes) {
  for (int quad = 0; quad < 8; ++quad) {
    for (int i = 0; i < 64; ++i) {
      uint8_t& code = codes[64 * quad + i];
      code = Byte(code | ((plane[i] >> quad) & 1u) << shift);
    }
  }
}

}  // namespace

int64_t TileBytes(QuantFormat format, int64_t k) {
  const TileFormat tile = TileFormatOf(format);
  if (tile.code_bits == 0) {
    return PaddedFloats(k) * kTileRows * FloatBytes(format);
  }
  return k / tile.BlockValues() * tile.BlockBytes();
}

void PackTile(const TensorView& tensor, int64_t tile, uint8_t* out) {
  std::memset(out, 0, static_cast<size_t>(TileBytes(tensor.format, tensor.cols)));
  const TileFormat format = TileFormatOf(tensor.format);
  const int64_t row_bytes = RowBytes(tensor.format, tensor.cols);
  const int64_t first = tile * kTileRows;
  const auto rows = static_cast<int>(std::min<int64_t>(kTileRows, tensor.rows - first));
  QuantBlock block;
  for (int row = 0; row < rows; ++row) {
    const auto* source =
        reinterpret_cast<const uint8_t*>(tensor.data.data()) + (first + row) * row_bytes;
    if (format.code_bits == 0) {
      std::memcpy(out + row * PaddedFloats(tensor.cols) * FloatBytes(tensor.format),
                  source,
                  static_cast<size_t>(row_bytes));
      continue;
    }
    const int64_t num_blocks = tensor.cols / format.BlockValues();
    const int64_t source_block_bytes = row_bytes / num_blocks;
    for (int64_t b = 0; b < num_blocks; ++b) {
      ReadQuantBlock(tensor.format, source + b * source_block_bytes, block);
      WriteBlock(format, block, row, out + b * format.BlockBytes());
    }
  }
}

void UnpackCodes(int code_bits, const uint8_t* record, uint8_t* codes) {
  switch (code_bits) {
    case 2:
      std::memset(codes, 0, 512);
      return AddPairs(record, 0, codes);
    case 3:
      std::memset(codes, 0, 512);
      AddPairs(record, 0, codes);
      return AddBits(record + 128, 2, codes);
    case 4:
      return UnpackNibbles(record, codes);
    case 5:
      UnpackNibbles(record, codes);
      return AddBits(record + 256, 4, codes);
    case 6:
      UnpackNibbles(record, codes);
      return AddPairs(record + 256, 4, codes);
    default:
      std::memcpy(codes, record, 512);
  }
}

int64_t RecordOffset(const TileFormat& format, int64_t record) {
  return record / format.RecordsPerBlock() * format.BlockBytes() +
         record % format.RecordsPerBlock() * format.RecordBytes();
}

RecordScales ReadScales(const TileFormat& format, const uint8_t* tile, int64_t record, int row) {
  RecordScales result;
  const uint8_t* scales = tile + RecordOffset(format, record) + format.CodeBytes();
  if (!format.super_block) {
    result.scale[0] = HalfToFloat(Load16(scales + 2 * row));
    result.minimum[0] = format.minimum ? HalfToFloat(Load16(scales + 32 + 2 * row)) : 0.0f;
    return result;
  }
  const uint8_t* block = tile + record / format.RecordsPerBlock() * format.BlockBytes();
  const uint8_t* tail = block + format.RecordsPerBlock() * format.RecordBytes();
  const float d = HalfToFloat(Load16(tail + 2 * row));
  const float d_minimum = format.minimum ? HalfToFloat(Load16(tail + 32 + 2 * row)) : 0.0f;
  if (format.group_values == 32) {
    result.scale[0] = d * static_cast<float>(scales[row]);
    result.minimum[0] = -d_minimum * static_cast<float>(scales[16 + row]);
    return result;
  }
  for (int group = 0; group < 2; ++group) {
    const uint8_t stored = scales[16 * group + row];
    if (format.minimum) {
      result.scale[group] = d * static_cast<float>(stored & 15u);
      result.minimum[group] = -d_minimum * static_cast<float>(stored >> 4);
    } else {
      result.scale[group] = d * static_cast<float>(static_cast<int8_t>(stored));
    }
  }
  return result;
}

void DequantizeTileRow(QuantFormat format, const uint8_t* tile, int row, std::span<float> values) {
  const TileFormat layout = TileFormatOf(format);
  const auto k = static_cast<int64_t>(values.size());
  if (layout.code_bits == 0) {
    const uint8_t* source = tile + row * PaddedFloats(k) * FloatBytes(format);
    if (format == QuantFormat::kF32) {
      std::memcpy(values.data(), source, values.size_bytes());
      return;
    }
    for (size_t i = 0; i < values.size(); ++i) {
      const uint16_t bits = Load16(source + 2 * i);
      values[i] = format == QuantFormat::kF16 ? HalfToFloat(bits) : BfloatToFloat(bits);
    }
    return;
  }
  uint8_t codes[512];
  for (int64_t r = 0; r < k / kRecordValues; ++r) {
    const RecordScales scales = ReadScales(layout, tile, r, row);
    UnpackCodes(layout.code_bits, tile + RecordOffset(layout, r), codes);
    float* out = values.data() + r * kRecordValues;
    for (int i = 0; i < kRecordValues; ++i) {
      const int group = i / layout.group_values;
      const int code = codes[64 * (i / 4) + 4 * row + i % 4];
      const float scaled = scales.scale[group] * static_cast<float>(code - layout.offset);
      out[i] = layout.minimum ? scaled + scales.minimum[group] : scaled;
    }
  }
}

}  // namespace inferd::cpu_internal
