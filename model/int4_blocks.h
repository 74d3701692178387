// The int4 linear weights of AWQ and GPTQ files, as blocks of GGML's formats that hold exactly the
// same numbers: weight = scale * (code - zero), scale f16 or bf16, in groups along the inputs.
//
// Where every zero is 8, that is Q4_0 with a group's scale in each of its blocks of 32. Other zeros
// are Q5_0, whose integers from -16 to 15 hold every code - zero. So each device that reads GGUF
// runs these models without another kernel, and nothing is rounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/quant_format.h"
#include "model/safetensors.h"

namespace inferd {

// Where codes and zeros lie in their words (docs/formats/model_folder.md).
enum class Int4Layout : uint8_t {
  kGptq,    // words along the inputs; zeros are stored less one
  kGptqV2,  // zeros as they are
  kAwq,     // words along the outputs, codes of a word interleaved
};

// The tensors of one linear op. [in / 8, out] or, of AWQ, [in, out / 8] i32; [groups, out / 8] i32;
// [groups, out]; [in] or absent.
struct Int4Source {
  std::string name;  // "model.layers.0.mlp.up_proj"
  Int4Layout layout = Int4Layout::kGptq;
  int64_t group = 0;  // as the file's config says; -1: one group of all inputs
  const SafetensorsTensor* codes = nullptr;
  const SafetensorsTensor* zeros = nullptr;
  const SafetensorsTensor* scales = nullptr;
  const SafetensorsTensor* group_index = nullptr;  // g_idx: the group of each input
};

struct Int4Blocks {
  QuantFormat format = QuantFormat::kQ4_0;
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<std::byte> data;        // rows of blocks
  std::vector<int32_t> column_order;  // TensorView's; empty if groups are runs of inputs
};

// kInvalidArgument if the tensors do not fit each other, kUnimplemented for what is not served: a
// group that is no multiple of 32, groups of unequal size, a scale that f16 cannot hold, a GPTQ
// zero of 15 (16 to some readers, 0 to others). Both name the op.
StatusOr<Int4Blocks> ReadInt4(const Int4Source& source);

}  // namespace inferd
