#include "model/gguf.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <utility>

#include "base/check.h"
#include "model/gguf_cursor.h"
#include "model/printable.h"
#include "model/quant_format.h"

namespace inferd {
namespace {

constexpr uint64_t kTensorsMax = 65'536;
constexpr uint64_t kKeysMax = 65'536;
constexpr uint32_t kDimsMax = 4;
constexpr uint32_t kAlignmentMin = 8;  // the format's: any F32 or F16 in a tensor is then aligned
constexpr uint32_t kAlignmentMax = 1 << 20;

// The fewest bytes that an entry can take in the file: a key of one byte and a value of one; a
// name of one byte and one dimension.
constexpr uint64_t kKeyBytesMin = 8 + 1 + 4 + 1;
constexpr uint64_t kTensorBytesMin = 8 + 1 + 4 + 8 + 4 + 8;

using gguf_internal::Broken;
using gguf_internal::Cursor;
using gguf_internal::ReadValue;

// A tensor as its header entry declares it.
struct Entry {
  GgufTensor tensor;
  uint64_t offset = 0;      // from the start of the data section
  uint64_t size_bytes = 0;  // at least: no type that is not read takes less than a bit a value
  bool readable = false;
};

// Fills in what the dimensions and the type of a tensor make of its size.
Status MeasureTensor(Entry& entry) {
  const GgufTensor& tensor = entry.tensor;
  uint64_t values = 1;
  for (const uint64_t dim : tensor.dims) {
    if (__builtin_mul_overflow(values, dim, &values) ||
        values > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Broken("tensor %s: its dimensions overflow", Quoted(tensor.name));
    }
  }
  const auto format = QuantFormatFromGgml(tensor.ggml_type);
  if (!format) {
    entry.size_bytes = std::max<uint64_t>(values / 8, 1);
    return OkStatus();
  }
  const QuantFormatInfo& info = Info(*format);
  const auto block_values = static_cast<uint64_t>(info.block_values);
  if (tensor.dims[0] % block_values != 0) {
    return Broken("tensor %s: rows of %d values are not whole blocks of %s (%d values)",
                  Quoted(tensor.name),
                  tensor.dims[0],
                  info.name,
                  block_values);
  }
  if (__builtin_mul_overflow(
          values / block_values, static_cast<uint64_t>(info.block_bytes), &entry.size_bytes)) {
    return Broken("tensor %s: its size overflows", Quoted(tensor.name));
  }
  entry.readable = true;
  return OkStatus();
}

StatusOr<Entry> ReadTensorEntry(Cursor& cursor) {
  Entry entry;
  GgufTensor& tensor = entry.tensor;
  const uint64_t at = cursor.offset();
  ASSIGN_OR_RETURN(tensor.name, cursor.ReadString());
  ASSIGN_OR_RETURN(const uint32_t n_dims, cursor.Read<uint32_t>());
  if (tensor.name.empty()) {
    return Broken("byte %d: a tensor without a name", at);
  }
  if (n_dims < 1 || n_dims > kDimsMax) {
    return Broken(
        "tensor %s: %d dimensions; 1 to %d are read", Quoted(tensor.name), n_dims, kDimsMax);
  }
  for (uint32_t i = 0; i < n_dims; ++i) {
    ASSIGN_OR_RETURN(const uint64_t dim, cursor.Read<uint64_t>());
    if (dim == 0) {
      return Broken("tensor %s: a dimension of 0", Quoted(tensor.name));
    }
    tensor.dims.push_back(dim);
  }
  ASSIGN_OR_RETURN(tensor.ggml_type, cursor.Read<uint32_t>());
  ASSIGN_OR_RETURN(entry.offset, cursor.Read<uint64_t>());
  RETURN_IF_ERROR(MeasureTensor(entry));
  return entry;
}

// Gives each tensor that is read its bytes; refuses what lies outside the data section or on
// another tensor.
Status PlaceTensors(std::span<const std::byte> data, uint32_t alignment, std::vector<Entry>& all) {
  for (Entry& entry : all) {
    if (entry.offset % alignment != 0) {
      return Broken("tensor %s: offset %d is not aligned to %d",
                    Quoted(entry.tensor.name),
                    entry.offset,
                    alignment);
    }
    if (entry.offset > data.size() || entry.size_bytes > data.size() - entry.offset) {
      return Broken("tensor %s: %d bytes at offset %d, but the data section has %d",
                    Quoted(entry.tensor.name),
                    entry.size_bytes,
                    entry.offset,
                    data.size());
    }
    if (entry.readable) {
      entry.tensor.data = data.subspan(entry.offset, entry.size_bytes);
    }
  }
  std::vector<const Entry*> by_offset;
  by_offset.reserve(all.size());
  for (const Entry& entry : all) {
    by_offset.push_back(&entry);
  }
  std::sort(by_offset.begin(), by_offset.end(), [](const Entry* a, const Entry* b) {
    return a->offset < b->offset;
  });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const Entry& before = *by_offset[i - 1];
    if (before.offset + before.size_bytes > by_offset[i]->offset) {
      return Broken("tensors %s and %s overlap",
                    Quoted(before.tensor.name),
                    Quoted(by_offset[i]->tensor.name));
    }
  }
  return OkStatus();
}

struct Counts {
  uint64_t tensors = 0;
  uint64_t keys = 0;
};

StatusOr<uint32_t> ReadVersion(Cursor& cursor) {
  constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
  const auto magic = cursor.Read<uint32_t>();
  if (!magic.ok() || *magic != kMagic) {
    return Broken("not a GGUF file: it does not start with \"GGUF\"");
  }
  ASSIGN_OR_RETURN(const uint32_t version, cursor.Read<uint32_t>());
  if (version == 2 || version == 3) {
    return version;
  }
  if ((version & 0xffffu) == 0 && version != 0) {
    return ErrorF(StatusCode::kUnimplemented, "a big-endian GGUF file is not read");
  }
  return ErrorF(StatusCode::kUnimplemented, "GGUF version %d is not read; 2 and 3 are", version);
}

StatusOr<Counts> ReadCounts(Cursor& cursor) {
  Counts counts;
  ASSIGN_OR_RETURN(counts.tensors, cursor.Read<uint64_t>());
  ASSIGN_OR_RETURN(counts.keys, cursor.Read<uint64_t>());
  if (counts.tensors > kTensorsMax || counts.keys > kKeysMax) {
    return Broken("%d tensors and %d keys; at most %d and %d are read",
                  counts.tensors,
                  counts.keys,
                  kTensorsMax,
                  kKeysMax);
  }
  if (counts.tensors * kTensorBytesMin + counts.keys * kKeyBytesMin > cursor.remaining()) {
    return Broken("%d tensors and %d keys need more than the %d bytes that remain",
                  counts.tensors,
                  counts.keys,
                  cursor.remaining());
  }
  return counts;
}

StatusOr<std::map<std::string_view, GgufValue>> ReadMetadata(Cursor& cursor, uint64_t count) {
  std::map<std::string_view, GgufValue> metadata;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t at = cursor.offset();
    ASSIGN_OR_RETURN(const std::string_view key, cursor.ReadString());
    if (key.empty()) {
      return Broken("byte %d: an empty key", at);
    }
    auto value = ReadValue(cursor);
    if (!value.ok()) {
      return Annotate(value.status(), absl::StrFormat("key %s", Quoted(key)));
    }
    if (!metadata.emplace(key, *std::move(value)).second) {
      return Broken("byte %d: key %s occurs twice", at, Quoted(key));
    }
  }
  return metadata;
}

Status WrongType(std::string_view key, const char* wanted) {
  return Broken("key %s: not %s", Quoted(key), wanted);
}

Status Absent(std::string_view key) {
  return ErrorF(StatusCode::kNotFound, "key %s is absent", Quoted(key));
}

}  // namespace

size_t GgufArray::size() const {
  return std::visit([](const auto& elements) { return elements.size(); }, values);
}

StatusOr<Gguf> Gguf::Parse(std::span<const std::byte> bytes) {
  Cursor cursor(bytes);
  Gguf gguf;
  ASSIGN_OR_RETURN(gguf.version_, ReadVersion(cursor));
  ASSIGN_OR_RETURN(const Counts counts, ReadCounts(cursor));
  ASSIGN_OR_RETURN(gguf.metadata_, ReadMetadata(cursor, counts.keys));
  if (const GgufValue* alignment = gguf.Find("general.alignment")) {
    const auto* value = std::get_if<uint64_t>(&alignment->value);
    if (alignment->type != GgufType::kU32 || !std::has_single_bit(*value) ||
        *value < kAlignmentMin || *value > kAlignmentMax) {
      return Broken("key \"general.alignment\": not a u32 power of two from %d to %d",
                    kAlignmentMin,
                    kAlignmentMax);
    }
    gguf.alignment_ = static_cast<uint32_t>(*value);
  }
  std::vector<Entry> entries;
  entries.reserve(counts.tensors);
  for (uint64_t i = 0; i < counts.tensors; ++i) {
    ASSIGN_OR_RETURN(Entry entry, ReadTensorEntry(cursor));
    if (!gguf.tensor_index_.emplace(entry.tensor.name, i).second) {
      return Broken("tensor %s occurs twice", Quoted(entry.tensor.name));
    }
    entries.push_back(std::move(entry));
  }
  // offset() is at most the file's size, so the sum cannot wrap.
  const uint64_t data_start =
      (cursor.offset() + gguf.alignment_ - 1) / gguf.alignment_ * gguf.alignment_;
  const auto data = data_start < bytes.size() ? bytes.subspan(data_start) : bytes.last(0);
  RETURN_IF_ERROR(PlaceTensors(data, gguf.alignment_, entries));
  gguf.tensors_.reserve(entries.size());
  for (Entry& entry : entries) {
    gguf.tensors_.push_back(std::move(entry.tensor));
  }
  return gguf;
}

Gguf Gguf::FromParts(std::map<std::string_view, GgufValue> metadata,
                     std::vector<GgufTensor> tensors) {
  Gguf gguf;
  gguf.metadata_ = std::move(metadata);
  gguf.tensors_ = std::move(tensors);
  for (size_t i = 0; i < gguf.tensors_.size(); ++i) {
    const GgufTensor& tensor = gguf.tensors_[i];
    CHECK(!tensor.dims.empty() && tensor.dims.size() <= kDimsMax);
    CHECK(gguf.tensor_index_.emplace(tensor.name, i).second);
  }
  return gguf;
}

const GgufTensor* Gguf::FindTensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

const GgufValue* Gguf::Find(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

StatusOr<int64_t> Gguf::GetInt(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) {
    return Absent(key);
  }
  if (const auto* number = std::get_if<int64_t>(&value->value)) {
    return *number;
  }
  const auto* number = std::get_if<uint64_t>(&value->value);
  if (number == nullptr) {
    return WrongType(key, "an integer");
  }
  if (*number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return Broken("key %s: %d is too large", Quoted(key), *number);
  }
  return static_cast<int64_t>(*number);
}

StatusOr<double> Gguf::GetFloat(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) {
    return Absent(key);
  }
  const auto* number = std::get_if<double>(&value->value);
  if (number == nullptr) {
    return WrongType(key, "a floating-point number");
  }
  return *number;
}

StatusOr<bool> Gguf::GetBool(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) {
    return Absent(key);
  }
  const auto* flag = std::get_if<bool>(&value->value);
  if (flag == nullptr) {
    return WrongType(key, "a bool");
  }
  return *flag;
}

StatusOr<std::string_view> Gguf::GetString(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) {
    return Absent(key);
  }
  const auto* text = std::get_if<std::string_view>(&value->value);
  if (text == nullptr) {
    return WrongType(key, "a string");
  }
  return *text;
}

}  // namespace inferd
