// GGUF v2 and v3: a bounded reader. The format: docs/gguf.md of ggml-org/ggml.
//
// Model files come from strangers: every count is bounded by the bytes that remain, arithmetic is
// checked, element types are checked before use, and nothing is allocated from a declared size
// alone. Limits: 65,536 tensors, 65,536 keys, 1 MiB a string, 2^22 elements an array, 4
// dimensions, alignment a power of two up to 1 MiB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"

namespace inferd {

// The value types of GGUF, with its numbers and its width.
enum class GgufType : uint32_t {  // NOLINT(performance-enum-size)
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

// An array of one scalar type or of strings. Arrays of arrays are refused.
struct GgufArray {
  GgufType element = GgufType::kU8;
  std::variant<std::vector<uint64_t>,
               std::vector<int64_t>,
               std::vector<double>,
               std::vector<bool>,
               std::vector<std::string_view>>
      values;  // unsigned, signed, floating, bool, string elements
  size_t size() const;
};

// A value: unsigned integers as uint64_t, signed as int64_t, floats as double. Strings point into
// the file's bytes.
struct GgufValue {
  GgufType type = GgufType::kU8;
  std::variant<uint64_t, int64_t, double, bool, std::string_view, GgufArray> value;
};

struct GgufTensor {
  std::string_view name;
  uint32_t ggml_type = 0;
  std::vector<uint64_t> dims = {};  // ne[0] (contiguous) first; 1 to 4 of them, none zero
  std::span<const std::byte> data;  // empty for types that are not read (size unknown)
  std::span<const int32_t> column_order = {};  // TensorView's; never in a file
};

// The parsed header. Points into the bytes given to Parse, which must outlive it.
class Gguf {
 public:
  // kInvalidArgument names what is wrong and where (byte offset, key or tensor).
  static StatusOr<Gguf> Parse(std::span<const std::byte> bytes);

  // What a converted file would say, of a model that lies elsewhere (model_folder.h). All that the
  // parts point to must outlive it. CHECKs that tensors have different names and 1 to 4 dims.
  static Gguf FromParts(std::map<std::string_view, GgufValue> metadata,
                        std::vector<GgufTensor> tensors);

  uint32_t version() const { return version_; }
  uint32_t alignment() const { return alignment_; }
  const std::map<std::string_view, GgufValue>& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // in file order

  // nullptr if absent.
  const GgufTensor* FindTensor(std::string_view name) const;
  const GgufValue* Find(std::string_view key) const;
  // Typed access: kNotFound if absent, kInvalidArgument if of another type or out of range.
  // Integers of any width and sign are accepted where the value fits.
  StatusOr<int64_t> GetInt(std::string_view key) const;
  StatusOr<double> GetFloat(std::string_view key) const;
  StatusOr<bool> GetBool(std::string_view key) const;
  StatusOr<std::string_view> GetString(std::string_view key) const;

 private:
  uint32_t version_ = 0;
  uint32_t alignment_ = 32;
  std::map<std::string_view, GgufValue> metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string_view, size_t> tensor_index_;
};

}  // namespace inferd
