// What opening a folder does with a stranger's safetensors: parse, and read as int4 whatever looks
// like the parts of a linear op.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/check.h"
#include "model/dequantize.h"
#include "model/int4_blocks.h"
#include "model/safetensors.h"

namespace inferd {
namespace {

void ReadAsInt4(const Safetensors& file, const std::string& prefix) {
  const auto find = [&](const char* suffix) -> const SafetensorsTensor* {
    const auto found = file.tensors().find(prefix + suffix);
    return found == file.tensors().end() ? nullptr : &found->second;
  };
  for (const Int4Layout layout : {Int4Layout::kGptq, Int4Layout::kGptqV2, Int4Layout::kAwq}) {
    for (const int64_t group : {-1, 32, 64}) {
      const auto blocks = ReadInt4({.name = prefix,
                                    .layout = layout,
                                    .group = group,
                                    .codes = find(".qweight"),
                                    .zeros = find(".qzeros"),
                                    .scales = find(".scales"),
                                    .group_index = find(".g_idx")});
      if (!blocks.ok()) {
        continue;
      }
      const TensorView view{
          prefix, blocks->format, blocks->rows, blocks->cols, blocks->data, blocks->column_order};
      CHECK(static_cast<int64_t>(view.data.size()) == view.rows * RowBytes(view.format, view.cols));
      (void)Dequantize(RowRange(view, view.rows - 1, 1));
    }
  }
}

void Exercise(std::span<const std::byte> bytes) {
  const auto file = Safetensors::Parse(bytes);
  if (!file.ok()) {
    return;
  }
  size_t total = 0;
  for (const auto& [name, tensor] : file->tensors()) {
    total += tensor.data.size();
    CHECK(tensor.data.empty() ||
          (tensor.data.data() >= bytes.data() &&
           tensor.data.data() + tensor.data.size() <= bytes.data() + bytes.size()));
    if (name.ends_with(".qweight")) {
      ReadAsInt4(*file, name.substr(0, name.rfind('.')));
    }
  }
  CHECK(total <= bytes.size());
}

}  // namespace
}  // namespace inferd

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  inferd::Exercise(std::as_bytes(std::span(data, size)));
  return 0;
}
