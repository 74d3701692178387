// CpuDevice: the embedded default device. Weights stay quantised, activations between ops are f32,
// KV is f16, and every op follows the numeric contract of docs/design/0002: a row's bits depend on
// its own tokens and KV alone, whatever the batch, the chunking, the number of threads and the
// instruction set.
#pragma once

#include <memory>
#include <vector>

#include "backend/device.h"
#include "cpu/cpu_attention.h"
#include "cpu/cpu_kernels.h"
#include "cpu/isa.h"
#include "cpu/packed_linear.h"
#include "cpu/rope_table.h"
#include "cpu/sampling.h"
#include "cpu/thread_team.h"

namespace inferd {

// Ops run when they are called, on the caller and the team's workers, and are done when the call
// returns; Synchronize() never fails. One thread at a time, the engine's.
class CpuDevice final : public Device {
 public:
  struct Options {
    // Compute threads, the caller included; 0: the physical cores that the process may use.
    int threads = 0;
    // kFailedPrecondition if the host lacks it.
    CpuIsa isa = BestIsa();
  };
  static StatusOr<std::unique_ptr<CpuDevice>> Create(const Options& options);
  ~CpuDevice() override;

  const DeviceCapabilities& capabilities() const override { return capabilities_; }
  int threads() const { return team_.size(); }

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
  explicit CpuDevice(const Options& options);

  // body(row) for each row, shared out over the team where rows of this cost are worth it.
  template <typename Body>
  void ForRows(int64_t rows, int64_t row_cost_ns, const Body& body);
  RopeTable& RopeTableFor(const RopeConfig& config);
  void RopeAppendRow(const RopeAppendKvArgs& args, const RopeTable& rope, int32_t row);
  void AddTiles(const PagedAttentionArgs& args, const SequenceRows& sequence);

  // Constant after construction.
  const CpuIsa isa_;
  const CpuKernels& kernels_;
  DeviceCapabilities capabilities_;
  // Engine thread.
  ThreadTeam team_;
  std::unique_ptr<PackedLinear::Scratch> linear_scratch_;
  std::vector<Sampler> samplers_;  // one for each worker
  std::vector<RopeTable> ropes_;
  CpuAttention attention_;
  std::vector<AttentionTile> tiles_;
  std::vector<float> logit_inputs_;  // gathered rows, if they are not consecutive
  // The current step.
  const ForwardBatch* batch_ = nullptr;
  int64_t step_ = 0;
  std::vector<int32_t> row_sequence_;  // index into batch_->sequences
};

}  // namespace inferd
