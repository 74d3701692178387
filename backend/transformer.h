// Transformer: the forward pass of every decoder family, written once over Device's ops.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "backend/device.h"
#include "base/digest.h"
#include "model/model_file.h"

namespace inferd {

// The weights of one model on one device, and the step over them. Engine thread only. Owns its
// weights and scratch; the device outlives it. The ModelFile is not needed after Load.
class Transformer {
 public:
  struct Options {
    int32_t rows_max = 512;        // most rows of a step
    int32_t logit_rows_max = 256;  // most rows whose logits a step wants
  };
  // Packs every tensor on the device, releasing the file's pages behind it.
  static StatusOr<std::unique_ptr<Transformer>> Load(Device& device,
                                                     const ModelFile& file,
                                                     const Options& options);
  // The same from a config and its tensors, wherever they lie. `release` (may be empty) is called
  // for each tensor once the device has packed it.
  static StatusOr<std::unique_ptr<Transformer>> Load(
      Device& device,
      const ModelConfig& config,
      const ModelWeights& weights,
      const Options& options,
      const std::function<void(const TensorView&)>& release = {});
  ~Transformer();

  // Queues the step. batch.n_rows() <= rows_max and logit_rows.size() <= logit_rows_max, which the
  // caller guarantees. Results are in logits() once the device is synchronized.
  void Forward(const ForwardBatch& batch, DeviceState& state);
  const DeviceTensor& logits() const;

  const ModelConfig& config() const;
  int64_t weight_bytes() const;
  // NumericsId of the device's contract and this config.
  const Digest& numerics_id() const;

 private:
  struct Impl;
  explicit Transformer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace inferd
