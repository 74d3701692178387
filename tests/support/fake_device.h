// FakeDevice: a device that computes fingerprints in place of activations, so that a test of the
// engine sees every wrong block, stale read or missing recompute as a different token.
//
// A row of a tensor is one 64-bit value. Embed makes it from the token; every op mixes in its
// operands and the weight's identity; RopeAppendKv stores (row, position, layer) in the row's KV
// cell, found through the block table; PagedAttention mixes all cells that the row may see, in
// order. Logits are a function of the final value, drawn from by the reference sampler. So a
// row's token depends on all tokens before it, exactly as far as the model's windows let it, and
// on nothing else, as the devices' contract says.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "backend/device.h"
#include "base/clock.h"
#include "cpu/sampling.h"

namespace inferd {

// Ops on one thread; the knobs may be turned from any.
class FakeDevice final : public Device {
 public:
  // What StateUnitBytes says for every group: kv_bytes = blocks * groups * this.
  static constexpr int64_t kUnitBytes = 1024;

  FakeDevice();

  // Every step takes at least this long (it sleeps).
  void set_step_time(Duration time) { step_time_ns_ = time.count(); }
  // The device is lost once this many more steps were synchronized; negative: never.
  void FailAfter(int64_t steps) { steps_left_ = steps; }
  // Called for each tensor that is loaded from now on, on the thread that loads it.
  void set_on_load(std::function<void()> on_load) { on_load_ = std::move(on_load); }
  int64_t num_steps() const { return num_steps_; }
  int32_t rows_in_step_max() const { return rows_in_step_max_; }  // the largest step so far

  const DeviceCapabilities& capabilities() const override { return capabilities_; }
  StatusOr<std::unique_ptr<DeviceLinear>> LoadLinear(const LinearSpec& spec) override;
  StatusOr<std::unique_ptr<DeviceVector>> LoadVector(const TensorView& vector) override;
  StatusOr<std::unique_ptr<DeviceTensor>> AllocateTensor(int32_t rows_max, int32_t cols) override;
  int64_t StateUnitBytes(const ModelConfig& config, int32_t group) const override;
  StatusOr<std::unique_ptr<DeviceState>> AllocateState(const ModelConfig& config,
                                                       std::span<const int64_t> units) override;

  void BeginStep(const ForwardBatch& batch) override;
  void Embed(const DeviceLinear& table, float scale, DeviceTensor& out) override;
  void RmsNorm(const RmsNormArgs& args) override;
  void Linear(const LinearArgs& args) override;
  void RopeAppendKv(const RopeAppendKvArgs& args) override;
  void PagedAttention(const PagedAttentionArgs& args) override;
  void Logits(const DeviceTensor& x,
              const DeviceLinear& weight,
              float scale,
              float cap,
              DeviceTensor& out) override;
  void Sample(const DeviceTensor& logits,
              std::span<const SampleRow> rows,
              std::span<SampledToken> result) override;
  Status Synchronize() override;
  void ReadRow(const DeviceTensor& tensor, int32_t row, std::span<float> out) const override;

 private:
  DeviceCapabilities capabilities_;
  std::function<void()> on_load_ = [] {};
  const ForwardBatch* batch_ = nullptr;  // of the step in work
  Sampler sampler_;
  std::vector<float> logits_;  // scratch of Sample
  std::atomic<int64_t> step_time_ns_{0};
  std::atomic<int64_t> steps_left_{-1};
  std::atomic<int64_t> num_steps_{0};
  std::atomic<int32_t> rows_in_step_max_{0};
};

}  // namespace inferd
