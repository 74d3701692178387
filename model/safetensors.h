// Safetensors: a bounded reader of one file. The format: the README of huggingface/safetensors.
//
// Files come from strangers: the header is bounded before it is parsed (bounded_json.h), shapes are
// multiplied with checks, and tensors must cover the data without gap or overlap. Limits: a header
// of 64 MiB, 65,536 tensors, 8 dimensions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace inferd {

// The types that models are made of; a file may hold others, whose name is all that is known.
enum class SafetensorsType : uint8_t { kF32, kF16, kBF16, kI32, kI64, kOther };

struct SafetensorsTensor {
  std::string name;
  SafetensorsType type = SafetensorsType::kOther;
  std::string type_name;            // "F16"
  std::vector<int64_t> shape = {};  // row-major; none is negative
  std::span<const std::byte> data = {};
};

// A parsed header. Points into the bytes given to Parse, which must outlive it.
class Safetensors {
 public:
  // kInvalidArgument names what is wrong and with which tensor.
  static StatusOr<Safetensors> Parse(std::span<const std::byte> bytes);

  const std::map<std::string, SafetensorsTensor, std::less<>>& tensors() const { return tensors_; }

 private:
  std::map<std::string, SafetensorsTensor, std::less<>> tensors_;
};

}  // namespace inferd
