#include "model/gguf_cursor.h"

#include <utility>

namespace inferd::gguf_internal {
namespace {

constexpr uint64_t kStringBytesMax = 1 << 20;
constexpr uint64_t kArrayElementsMax = 1 << 22;

// Bytes of a scalar type in the file; 0 for what has no fixed size.
uint64_t ScalarBytes(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

StatusOr<uint64_t> ReadUnsigned(Cursor& cursor, GgufType type) {
  switch (type) {
    case GgufType::kU8:
      return cursor.Read<uint8_t>();
    case GgufType::kU16:
      return cursor.Read<uint16_t>();
    case GgufType::kU32:
      return cursor.Read<uint32_t>();
    default:
      return cursor.Read<uint64_t>();
  }
}

StatusOr<int64_t> ReadSigned(Cursor& cursor, GgufType type) {
  switch (type) {
    case GgufType::kI8:
      return cursor.Read<int8_t>();
    case GgufType::kI16:
      return cursor.Read<int16_t>();
    case GgufType::kI32:
      return cursor.Read<int32_t>();
    default:
      return cursor.Read<int64_t>();
  }
}

StatusOr<double> ReadFloat(Cursor& cursor, GgufType type) {
  if (type == GgufType::kF32) {
    return cursor.Read<float>();
  }
  return cursor.Read<double>();
}

StatusOr<bool> ReadBool(Cursor& cursor, GgufType /*type*/) {
  const uint64_t at = cursor.offset();
  ASSIGN_OR_RETURN(const uint8_t value, cursor.Read<uint8_t>());
  if (value > 1) {
    return Broken("byte %d: a bool of value %d", at, int{value});
  }
  return value == 1;
}

StatusOr<std::string_view> ReadText(Cursor& cursor, GgufType /*type*/) {
  return cursor.ReadString();
}

enum class Family : uint8_t { kUnsigned, kSigned, kFloating, kBool, kString, kArray };

Family FamilyOf(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kU16:
    case GgufType::kU32:
    case GgufType::kU64:
      return Family::kUnsigned;
    case GgufType::kI8:
    case GgufType::kI16:
    case GgufType::kI32:
    case GgufType::kI64:
      return Family::kSigned;
    case GgufType::kF32:
    case GgufType::kF64:
      return Family::kFloating;
    case GgufType::kBool:
      return Family::kBool;
    case GgufType::kString:
      return Family::kString;
    case GgufType::kArray:
      return Family::kArray;
  }
  return Family::kArray;
}

template <typename T>
Status ReadElements(Cursor& cursor,
                    GgufArray& array,
                    uint64_t count,
                    StatusOr<T> (*read)(Cursor&, GgufType)) {
  std::vector<T> values;
  values.reserve(count);  // the caller has bounded it by the bytes that remain
  for (uint64_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const T value, read(cursor, array.element));
    values.push_back(value);
  }
  array.values = std::move(values);
  return OkStatus();
}

StatusOr<GgufArray> ReadArray(Cursor& cursor) {
  const uint64_t at = cursor.offset();
  GgufArray array;
  ASSIGN_OR_RETURN(array.element, cursor.ReadType());
  ASSIGN_OR_RETURN(const uint64_t count, cursor.Read<uint64_t>());
  if (array.element == GgufType::kArray) {
    return Broken("byte %d: an array of arrays is not read", at);
  }
  if (count > kArrayElementsMax) {
    return Broken(
        "byte %d: an array of %d elements; at most %d are read", at, count, kArrayElementsMax);
  }
  const uint64_t element_bytes =
      array.element == GgufType::kString ? sizeof(uint64_t) : ScalarBytes(array.element);
  if (count > cursor.remaining() / element_bytes) {
    return Broken("byte %d: an array of %d elements needs more than the %d bytes that remain",
                  at,
                  count,
                  cursor.remaining());
  }
  Status read;
  switch (FamilyOf(array.element)) {
    case Family::kUnsigned:
      read = ReadElements<uint64_t>(cursor, array, count, ReadUnsigned);
      break;
    case Family::kSigned:
      read = ReadElements<int64_t>(cursor, array, count, ReadSigned);
      break;
    case Family::kFloating:
      read = ReadElements<double>(cursor, array, count, ReadFloat);
      break;
    case Family::kBool:
      read = ReadElements<bool>(cursor, array, count, ReadBool);
      break;
    case Family::kString:
    case Family::kArray:
      read = ReadElements<std::string_view>(cursor, array, count, ReadText);
      break;
  }
  RETURN_IF_ERROR(read);
  return array;
}

}  // namespace

StatusOr<std::string_view> Cursor::ReadString() {
  const uint64_t at = offset_;
  ASSIGN_OR_RETURN(const uint64_t length, Read<uint64_t>());
  if (length > kStringBytesMax) {
    return Broken(
        "byte %d: a string of %d bytes; at most %d are read", at, length, kStringBytesMax);
  }
  if (length > remaining()) {
    return Broken("byte %d: a string of %d bytes, %d remain", at, length, remaining());
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes_.data() + offset_), length);
  offset_ += length;
  return text;
}

StatusOr<GgufType> Cursor::ReadType() {
  const uint64_t at = offset_;
  ASSIGN_OR_RETURN(const uint32_t type, Read<uint32_t>());
  if (type > static_cast<uint32_t>(GgufType::kF64)) {
    return Broken("byte %d: value type %d is not one of GGUF's", at, type);
  }
  return static_cast<GgufType>(type);
}

StatusOr<GgufValue> ReadValue(Cursor& cursor) {
  GgufValue result;
  ASSIGN_OR_RETURN(result.type, cursor.ReadType());
  switch (FamilyOf(result.type)) {
    case Family::kUnsigned: {
      ASSIGN_OR_RETURN(result.value, ReadUnsigned(cursor, result.type));
      break;
    }
    case Family::kSigned: {
      ASSIGN_OR_RETURN(result.value, ReadSigned(cursor, result.type));
      break;
    }
    case Family::kFloating: {
      ASSIGN_OR_RETURN(result.value, ReadFloat(cursor, result.type));
      break;
    }
    case Family::kBool: {
      ASSIGN_OR_RETURN(result.value, ReadBool(cursor, result.type));
      break;
    }
    case Family::kString: {
      ASSIGN_OR_RETURN(result.value, cursor.ReadString());
      break;
    }
    case Family::kArray: {
      ASSIGN_OR_RETURN(result.value, ReadArray(cursor));
      break;
    }
  }
  return result;
}

}  // namespace inferd::gguf_internal
