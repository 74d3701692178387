// QuantFormat: how the numbers of a tensor are stored, and what the storage costs.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace inferd {

// The storage formats that are read. The names and the block layouts are GGML's.
// NOLINTBEGIN(readability-identifier-naming)
enum class QuantFormat : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};
// NOLINTEND(readability-identifier-naming)
inline constexpr int kNumQuantFormats = 13;

// Constant facts of a format. Rows are stored one after another, each a whole number of blocks.
struct QuantFormatInfo {
  QuantFormat format;
  std::string_view name;  // "Q4_K"
  uint32_t ggml_type;     // GGUF's number
  int32_t block_values;   // values in a block; a row's length is a multiple of it
  int32_t block_bytes;    // bytes of a block
  int32_t group_values;   // values under one scale: 32, or 16 for Q2_K, Q3_K, Q6_K; 1 for floats
  bool has_minimum;       // Q4_1, Q5_1, Q2_K, Q4_K, Q5_K
};

const QuantFormatInfo& Info(QuantFormat format);
// nullopt for a GGML type that is not read.
std::optional<QuantFormat> QuantFormatFromGgml(uint32_t ggml_type);
// GGML's name of a type number ("IQ4_XS"), for messages; "type 99" is "unknown".
std::string_view GgmlTypeName(uint32_t ggml_type);

}  // namespace inferd
