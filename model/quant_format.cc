#include "model/quant_format.h"

#include <array>
#include <utility>

namespace inferd {
namespace {

constexpr std::array<QuantFormatInfo, kNumQuantFormats> kFormats = {{
    {QuantFormat::kF32, "F32", 0, 1, 4, 1, false},
    {QuantFormat::kF16, "F16", 1, 1, 2, 1, false},
    {QuantFormat::kBF16, "BF16", 30, 1, 2, 1, false},
    {QuantFormat::kQ4_0, "Q4_0", 2, 32, 18, 32, false},
    {QuantFormat::kQ4_1, "Q4_1", 3, 32, 20, 32, true},
    {QuantFormat::kQ5_0, "Q5_0", 6, 32, 22, 32, false},
    {QuantFormat::kQ5_1, "Q5_1", 7, 32, 24, 32, true},
    {QuantFormat::kQ8_0, "Q8_0", 8, 32, 34, 32, false},
    {QuantFormat::kQ2_K, "Q2_K", 10, 256, 84, 16, true},
    {QuantFormat::kQ3_K, "Q3_K", 11, 256, 110, 16, false},
    {QuantFormat::kQ4_K, "Q4_K", 12, 256, 144, 32, true},
    {QuantFormat::kQ5_K, "Q5_K", 13, 256, 176, 32, true},
    {QuantFormat::kQ6_K, "Q6_K", 14, 256, 210, 16, false},
}};

// Types that files hold and this room does not read, for messages.
constexpr std::pair<uint32_t, std::string_view> kOtherNames[] = {
    {9, "Q8_1"},   {15, "Q8_K"},   {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
    {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"},   {22, "IQ2_S"},  {23, "IQ4_XS"},
    {24, "I8"},    {25, "I16"},    {26, "I32"},     {27, "I64"},    {28, "F64"},
    {29, "IQ1_M"}, {34, "TQ1_0"},  {35, "TQ2_0"},   {39, "MXFP4"},  {40, "NVFP4"},
};

}  // namespace

const QuantFormatInfo& Info(QuantFormat format) { return kFormats[static_cast<size_t>(format)]; }

std::optional<QuantFormat> QuantFormatFromGgml(uint32_t ggml_type) {
  for (const QuantFormatInfo& info : kFormats) {
    if (info.ggml_type == ggml_type) {
      return info.format;
    }
  }
  return std::nullopt;
}

std::string_view GgmlTypeName(uint32_t ggml_type) {
  if (const auto format = QuantFormatFromGgml(ggml_type)) {
    return Info(*format).name;
  }
  for (const auto& [type, name] : kOtherNames) {
    if (type == ggml_type) {
      return name;
    }
  }
  return "unknown";
}

}  // namespace inferd
