// Device: what a device must be able to do so that the Transformer, written once, runs on it.
//
// About a dozen coarse ops over opaque objects that the device makes. Ops of one device are called
// from one thread, in order; a device may run them later, in that order (a CUDA stream), and
// Synchronize() waits and reports. Activations are f32 [rows, cols] row-major in meaning.
//
// Contract (architecture: batch-invariant): a row's result depends only on its own tokens, its KV
// and the numerics id: never on other rows, on the batch's size, on how a prompt was cut, or on
// the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/forward_batch.h"
#include "base/ids.h"
#include "base/status.h"
#include "model/model_config.h"
#include "model/tensor_view.h"

namespace inferd {

// A matrix of activations in device memory, [rows_max, cols] f32.
class DeviceTensor {
 public:
  virtual ~DeviceTensor() = default;
  virtual int32_t rows_max() const = 0;
  virtual int32_t cols() const = 0;
};

// Packed weights of one linear op.
class DeviceLinear {
 public:
  virtual ~DeviceLinear() = default;
  virtual int32_t in_features() const = 0;
  virtual int32_t out_features() const = 0;  // after the gate, if there is one
  virtual int64_t size_bytes() const = 0;
};

// A vector of f32 (norm weights, rope frequencies).
class DeviceVector {
 public:
  virtual ~DeviceVector() = default;
};

// The KV (and later recurrent) state of one model: every unit of every state group.
class DeviceState {
 public:
  virtual ~DeviceState() = default;
  virtual int64_t size_bytes() const = 0;

  // One unit of a group, all its layers, to memory of the host and back, bit for bit; in order with
  // the device's ops. Spans have StateUnitBytes of the group. Not to be called unless
  // copies_units().
  virtual bool copies_units() const { return false; }
  virtual void SaveUnit(int32_t group, BlockIndex unit, std::span<std::byte> out) const;
  virtual void LoadUnit(int32_t group, BlockIndex unit, std::span<const std::byte> in);
};

// y = x · Wᵀ with W = the parts stacked along the output, one pass over x for all of them.
struct LinearSpec {
  std::vector<TensorView> parts;   // each [out_i, in]; formats may differ
  std::vector<TensorView> biases;  // empty, or one [1, out_i] for each part (each may be empty())
  // parts = {gate, up} of equal shape: the op's result is act(x·gateᵀ) * (x·upᵀ), [rows, out_0].
  bool gated = false;
  Activation activation = Activation::kSilu;  // if gated
};

struct RmsNormArgs {
  const DeviceTensor* x = nullptr;       // [rows, d]
  const DeviceVector* weight = nullptr;  // [d]
  float epsilon = 0.0f;
  const DeviceTensor* residual = nullptr;  // optional: out = residual + norm(x)
  DeviceTensor* out = nullptr;             // may be x or residual
};

struct LinearArgs {
  const DeviceTensor* x = nullptr;  // [rows, in]
  const DeviceLinear* weight = nullptr;
  const DeviceTensor* residual = nullptr;  // optional: out = residual + result; may be out
  DeviceTensor* out = nullptr;             // [rows, out]
};

// In place on the q part of qkv [rows, n_heads*dk + n_kv_heads*dk + n_kv_heads*dv]: norm if
// q_norm, then rope; k the same, appended with v to the KV cache at each row's position. A layer
// that reads another layer's KV (attention->source_layer != layer) has q alone: qkv is
// [rows, n_heads*dk], k_norm is null and nothing is appended.
struct RopeAppendKvArgs {
  DeviceTensor* qkv = nullptr;
  const AttentionConfig* attention = nullptr;
  const DeviceVector* q_norm = nullptr;  // iff attention->qk_norm
  const DeviceVector* k_norm = nullptr;  // iff attention->qk_norm and the layer owns its KV
  float epsilon = 0.0f;
  int32_t layer = 0;
  DeviceState* state = nullptr;
};

// out [rows, n_heads*dv]: softmax(cap(scale * q·k)) · v over the keys each row may see.
struct PagedAttentionArgs {
  const DeviceTensor* qkv = nullptr;  // q part as RopeAppendKv left it; its stride is qkv->cols()
  const AttentionConfig* attention = nullptr;
  int32_t layer = 0;  // the layer whose KV is read is attention->source_layer
  const DeviceState* state = nullptr;
  DeviceTensor* out = nullptr;
};

struct DeviceCapabilities {
  std::string name;  // "cpu avx512vnni", "exact", "cuda:0 NVIDIA H200"
  // Version and class of the numeric contract; part of the numerics id. The CPU's instruction set
  // is not in it: all give the same bits.
  std::string contract;
  int32_t rows_max = 0;  // most rows of one step
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceCapabilities& capabilities() const = 0;

  // Loading. kUnimplemented names a format or a size that the device cannot hold.
  virtual StatusOr<std::unique_ptr<DeviceLinear>> LoadLinear(const LinearSpec& spec) = 0;
  virtual StatusOr<std::unique_ptr<DeviceVector>> LoadVector(const TensorView& vector) = 0;
  virtual StatusOr<std::unique_ptr<DeviceTensor>> AllocateTensor(int32_t rows_max,
                                                                 int32_t cols) = 0;
  // Bytes of one unit of a state group, over all its layers.
  virtual int64_t StateUnitBytes(const ModelConfig& config, int32_t group) const = 0;
  // units[g] units for group g. Memory is touched when it is first written.
  virtual StatusOr<std::unique_ptr<DeviceState>> AllocateState(const ModelConfig& config,
                                                               std::span<const int64_t> units) = 0;

  // Starts a step: rows, positions and block tables that the following ops refer to. The batch
  // stays valid until Synchronize().
  virtual void BeginStep(const ForwardBatch& batch) = 0;

  // out [rows, d_model] = scale * the embedded tokens of the batch. The table is a loaded linear
  // [vocab, d_model] of one part, so that tied models hold it once; its bias, if any, is the
  // logits' and is not added here.
  virtual void Embed(const DeviceLinear& table, float scale, DeviceTensor& out) = 0;
  virtual void RmsNorm(const RmsNormArgs& args) = 0;
  virtual void Linear(const LinearArgs& args) = 0;
  virtual void RopeAppendKv(const RopeAppendKvArgs& args) = 0;
  virtual void PagedAttention(const PagedAttentionArgs& args) = 0;
  // out [batch.logit_rows.size(), vocab] = cap(scale * x[logit_rows] · Wᵀ).
  virtual void Logits(const DeviceTensor& x,
                      const DeviceLinear& weight,
                      float scale,
                      float cap,
                      DeviceTensor& out) = 0;
  // result[i] for rows[i]; valid after Synchronize().
  virtual void Sample(const DeviceTensor& logits,
                      std::span<const SampleRow> rows,
                      std::span<SampledToken> result) = 0;

  // Waits for everything before it. An error is sticky: the device is lost, kUnavailable.
  virtual Status Synchronize() = 0;
  // Copies row `row` of a tensor to the host; Synchronize() first. For logits and tests.
  virtual void ReadRow(const DeviceTensor& tensor, int32_t row, std::span<float> out) const = 0;
};

}  // namespace inferd
