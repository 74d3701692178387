// GgufWriter: writes GGUF v3 files for tests and benchmarks, of any shape and storage format,
// tensor by tensor, so that a model larger than memory can be written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/gguf.h"
#include "model/quant_format.h"

namespace inferd {

// Random weights: codes and scales are drawn so that the values have mean 0 and about this standard
// deviation. The same seed gives the same bytes everywhere.
struct RandomWeights {
  uint64_t seed = 0;
  float stddev = 1.0f;
  float mean = 0.0f;  // F32, F16 and BF16 alone (norm weights)
};

// `count` random blocks of `format`, as they are stored. All scales are finite.
void FillRandomBlocks(QuantFormat format,
                      const RandomWeights& weights,
                      std::span<std::byte> blocks);

// A value; keys and tensors are written in the order in which they were added; a key that is set
// again is replaced in its place. Nothing else is checked: tests also write what a reader must
// refuse.
class GgufWriter {
 public:
  explicit GgufWriter(std::string_view architecture) { Set("general.architecture", architecture); }
  GgufWriter() = default;

  GgufWriter& Set(std::string_view key, std::string_view text);
  GgufWriter& Set(std::string_view key, const char* text) {
    return Set(key, std::string_view(text));
  }
  GgufWriter& Set(std::string_view key, uint32_t value);
  GgufWriter& Set(std::string_view key, int32_t value) = delete;  // GGUF's own keys are unsigned
  GgufWriter& Set(std::string_view key, float value);
  GgufWriter& Set(std::string_view key, bool value);
  GgufWriter& Set(std::string_view key, const std::vector<std::string>& values);
  GgufWriter& Set(std::string_view key, const std::vector<float>& values);
  GgufWriter& Set(std::string_view key, const std::vector<int32_t>& values);
  GgufWriter& Set(std::string_view key, const std::vector<bool>& values);
  // A value of any type, as it lies in the file after its type.
  GgufWriter& SetRaw(std::string_view key, GgufType type, std::string_view bytes);

  GgufWriter& RemoveKey(std::string_view key);

  // A tensor with the given bytes; dims as GGUF has them, the contiguous one first.
  GgufWriter& AddTensor(std::string_view name,
                        std::vector<uint64_t> dims,
                        uint32_t ggml_type,
                        std::string bytes);
  GgufWriter& AddF32(std::string_view name,
                     int64_t rows,
                     int64_t cols,
                     std::span<const float> values);
  // Random values, made when the file is written.
  GgufWriter& AddRandom(std::string_view name,
                        int64_t rows,
                        int64_t cols,
                        QuantFormat format,
                        const RandomWeights& weights);

  // The whole file. kUnavailable says what the system said; a partial file may remain.
  Status WriteFile(const std::string& path) const;
  std::string Bytes() const;

 private:
  using Sink = std::function<Status(std::string_view)>;
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;
    uint32_t ggml_type = 0;
    uint64_t size_bytes = 0;
    std::string bytes;                       // if not random
    QuantFormat format = QuantFormat::kF32;  // if random
    RandomWeights weights;
    bool random = false;
  };
  std::string Header() const;
  Status WriteTo(const Sink& sink) const;
  static Status WriteTensor(const Tensor& tensor, const Sink& sink);

  static constexpr uint64_t kAlignment = 32;
  struct Key {
    std::string name;
    std::string encoded;  // type and value
  };
  std::vector<Key> keys_;
  std::vector<Tensor> tensors_;
};

}  // namespace inferd
