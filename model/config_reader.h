// ConfigReader: typed and bounded access to the keys of one architecture (`llama.block_count`),
// which remembers what was read, so that a key nobody understood is refused, never ignored.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/gguf.h"

namespace inferd {

// Refers to the Gguf, which outlives it. One thread. Keys are given without the architecture's
// prefix. Every reader marks its key as understood.
class ConfigReader {
 public:
  struct Range {
    int64_t min = 0;
    int64_t max = 0;
  };
  ConfigReader(const Gguf& gguf, std::string_view architecture)
      : gguf_(gguf), prefix_(std::string(architecture) + ".") {}

  bool Has(std::string_view key) const;
  std::string FullKey(std::string_view key) const { return prefix_ + std::string(key); }

  // kInvalidArgument if absent, of another type or out of range.
  StatusOr<int32_t> Int(std::string_view key, Range range);
  StatusOr<int32_t> IntOr(std::string_view key, Range range, int32_t if_absent);
  // Finite and within [min, max].
  StatusOr<float> Float(std::string_view key, double min, double max);
  StatusOr<float> FloatOr(std::string_view key, double min, double max, float if_absent);
  // A string; empty if absent.
  StatusOr<std::string> TextOr(std::string_view key);
  // One integer for all layers or an array with one for each; empty if absent.
  StatusOr<std::vector<int32_t>> PerLayer(std::string_view key, Range range, int32_t n_layers);
  // An array with a bool for each layer.
  StatusOr<std::vector<bool>> BoolPerLayer(std::string_view key, int32_t n_layers);
  bool IsArray(std::string_view key) const;

  // The key, if it is there, may only say what is assumed anyway. kUnimplemented otherwise, saying
  // `what` is not served.
  Status ExpectInt(std::string_view key, int64_t assumed, std::string_view what);
  Status ExpectFloat(std::string_view key, double assumed, std::string_view what);
  Status ExpectBool(std::string_view key, bool assumed, std::string_view what);
  // The key changes no number.
  void Ignore(std::string_view key) { understood_.insert(FullKey(key)); }

  // kUnimplemented naming the first key of the architecture that nobody asked for.
  Status CheckAllUnderstood() const;

 private:
  const GgufValue* Take(std::string_view key);
  Status Absent(std::string_view key) const;
  Status CheckRange(std::string_view key, int64_t value, Range range) const;

  const Gguf& gguf_;
  std::string prefix_;
  std::set<std::string, std::less<>> understood_;
};

}  // namespace inferd
