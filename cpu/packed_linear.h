// PackedLinear: the weights of one linear op in the layout that the CPU kernels read, and the op.
// The arithmetic is the numeric contract's (docs/design/0002), the same bits on every ISA.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backend/device.h"
#include "cpu/isa.h"
#include "cpu/thread_team.h"

namespace inferd {

// One call: rows of x through the weights. Strides in floats.
struct LinearRun {
  const float* x = nullptr;  // [rows, in]
  int64_t x_stride = 0;
  int32_t rows = 0;
  const float* residual = nullptr;  // optional, [rows, out]; may be `out`
  int64_t residual_stride = 0;
  float* out = nullptr;  // [rows, out]
  int64_t out_stride = 0;
  // Logits: result = cap(scale * result); scale 1 and cap 0 leave it alone.
  float scale = 1.0f;
  float cap = 0.0f;
};

// Immutable after Pack. Thread-safe for reading.
class PackedLinear final : public DeviceLinear {
 public:
  // Repacks the parts; reads every byte of them once. kUnimplemented for a shape that no kernel
  // holds, naming the tensor.
  static StatusOr<std::unique_ptr<PackedLinear>> Pack(const LinearSpec& spec, ThreadTeam& team);
  ~PackedLinear() override;

  int32_t in_features() const override;
  int32_t out_features() const override;
  int64_t size_bytes() const override;

  // Row `row` of the (one-part, ungated) weights dequantised exactly as DequantizeRow gives it,
  // times scale: an embedding lookup. row in [0, out_features()).
  void DequantizeRowTo(int64_t row, float scale, std::span<float> out) const;

  // Scratch for quantised activations, kept by the caller between calls; grows as needed.
  class Scratch {
   public:
    ~Scratch();

   private:
    friend class PackedLinear;
    struct Impl;
    explicit Scratch(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
  };
  static std::unique_ptr<Scratch> MakeScratch();

  void Run(CpuIsa isa, ThreadTeam& team, const LinearRun& run, Scratch& scratch) const;

 private:
  struct Impl;
  explicit PackedLinear(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace inferd
