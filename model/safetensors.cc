#include "model/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "model/bounded_json.h"
#include "model/printable.h"

namespace inferd {
namespace {

using nlohmann::json;

constexpr size_t kHeaderBytesMax = size_t{64} << 20;
constexpr size_t kTensorsMax = 65536;
constexpr size_t kDimsMax = 8;
constexpr size_t kLengthBytes = 8;

struct TypeInfo {
  std::string_view name;
  SafetensorsType type;
  int64_t bits;
};
constexpr TypeInfo kTypes[] = {
    {"F32", SafetensorsType::kF32, 32},
    {"F16", SafetensorsType::kF16, 16},
    {"BF16", SafetensorsType::kBF16, 16},
    {"I32", SafetensorsType::kI32, 32},
    {"I64", SafetensorsType::kI64, 64},
    {"BOOL", SafetensorsType::kOther, 8},
    {"U8", SafetensorsType::kOther, 8},
    {"I8", SafetensorsType::kOther, 8},
    {"U16", SafetensorsType::kOther, 16},
    {"I16", SafetensorsType::kOther, 16},
    {"U32", SafetensorsType::kOther, 32},
    {"U64", SafetensorsType::kOther, 64},
    {"F64", SafetensorsType::kOther, 64},
    {"F8_E4M3", SafetensorsType::kOther, 8},
    {"F8_E5M2", SafetensorsType::kOther, 8},
};

Status Bad(std::string_view name, std::string_view problem) {
  return ErrorF(StatusCode::kInvalidArgument, "tensor %s: %s", Quoted(name), problem);
}

// An integer from 0 to the largest int64_t.
bool ReadCount(const json& value, int64_t& count) {
  if (!value.is_number_integer()) {
    return false;
  }
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    count = static_cast<int64_t>(number);
    return number <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  }
  count = value.get<int64_t>();
  return count >= 0;
}

// Bytes of a tensor of this shape; false if they are too many to count or no whole number.
bool SizeOf(const std::vector<int64_t>& shape, int64_t bits, int64_t& bytes) {
  int64_t values = 1;
  for (const int64_t dim : shape) {
    if (__builtin_mul_overflow(values, dim, &values)) {
      return false;
    }
  }
  int64_t total = 0;
  if (__builtin_mul_overflow(values, bits, &total) || total % 8 != 0) {
    return false;
  }
  bytes = total / 8;
  return true;
}

struct Range {
  int64_t begin = 0;
  int64_t end = 0;
};

StatusOr<SafetensorsTensor> ReadTensor(const std::string& name,
                                       const json& entry,
                                       std::span<const std::byte> data,
                                       Range& range) {
  const json* dtype = model_internal::FindMember(entry, "dtype");
  const json* shape = model_internal::FindMember(entry, "shape");
  const json* offsets = model_internal::FindMember(entry, "data_offsets");
  if (dtype == nullptr || !dtype->is_string() || shape == nullptr || !shape->is_array() ||
      offsets == nullptr || !offsets->is_array() || offsets->size() != 2) {
    return Bad(name, "no dtype, shape or data_offsets");
  }
  SafetensorsTensor tensor{.name = name, .type_name = dtype->get<std::string>()};
  const auto* const type = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& t) {
    return t.name == tensor.type_name;
  });
  if (type == std::end(kTypes)) {
    return ErrorF(StatusCode::kUnimplemented,
                  "tensor %s: type %s is not read",
                  Quoted(name),
                  Quoted(tensor.type_name));
  }
  tensor.type = type->type;
  if (shape->size() > kDimsMax) {
    return Bad(name, "more than 8 dimensions");
  }
  for (const json& dim : *shape) {
    if (!ReadCount(dim, tensor.shape.emplace_back())) {
      return Bad(name, "a dimension that is no size");
    }
  }
  int64_t bytes = 0;
  if (!ReadCount((*offsets)[0], range.begin) || !ReadCount((*offsets)[1], range.end) ||
      range.begin > range.end || static_cast<uint64_t>(range.end) > data.size()) {
    return Bad(name, "its data do not lie in the file");
  }
  if (!SizeOf(tensor.shape, type->bits, bytes) || bytes != range.end - range.begin) {
    return Bad(name, "its shape does not fit its data");
  }
  tensor.data = data.subspan(static_cast<size_t>(range.begin), static_cast<size_t>(bytes));
  return tensor;
}

// Every byte of the data belongs to one tensor: nothing is hidden in a file, nothing is shared.
Status CheckCover(std::vector<Range> ranges, size_t data_bytes) {
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  int64_t at = 0;
  for (const Range& range : ranges) {
    if (range.begin != at) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "safetensors: a gap or an overlap of tensors at byte %d of the data",
                    at);
    }
    at = range.end;
  }
  if (static_cast<size_t>(at) != data_bytes) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "safetensors: %d bytes behind the last tensor",
                  data_bytes - static_cast<size_t>(at));
  }
  return OkStatus();
}

}  // namespace

StatusOr<Safetensors> Safetensors::Parse(std::span<const std::byte> bytes) {
  uint64_t length = 0;
  if (bytes.size() < kLengthBytes) {
    return ErrorF(StatusCode::kInvalidArgument, "safetensors: no header");
  }
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > kHeaderBytesMax || length > bytes.size() - kLengthBytes) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "safetensors: a header of %d bytes in a file of %d",
                  length,
                  bytes.size());
  }
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes,
                                static_cast<size_t>(length));
  // A tensor has about ten members and elements.
  ASSIGN_OR_RETURN(
      const json parsed,
      model_internal::ParseJsonObject(
          "safetensors header",
          header,
          {.bytes_max = kHeaderBytesMax, .values_max = kTensorsMax * 16, .depth_max = 4}));
  const auto data = bytes.subspan(kLengthBytes + static_cast<size_t>(length));
  Safetensors file;
  std::vector<Range> ranges;
  for (const auto& [name, entry] : parsed.items()) {
    if (name == "__metadata__") {
      continue;
    }
    if (ranges.size() == kTensorsMax) {
      return ErrorF(StatusCode::kInvalidArgument, "safetensors: more than %d tensors", kTensorsMax);
    }
    ASSIGN_OR_RETURN(SafetensorsTensor tensor,
                     ReadTensor(name, entry, data, ranges.emplace_back()));
    file.tensors_.emplace(name, std::move(tensor));
  }
  RETURN_IF_ERROR(CheckCover(std::move(ranges), data.size()));
  return file;
}

}  // namespace inferd
