// TimedDevice: a Device that hands every op to another and adds up what each kind took. For
// devices whose ops run when they are called.
#pragma once

#include <time.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "backend/device.h"

namespace inferd {

// Seconds of the wall clock, or of the calling thread's CPU time: on a busy host, with one compute
// thread, the latter is what can be compared.
inline double SecondsNow(bool cpu_time) {
  timespec now{};
  clock_gettime(cpu_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

class TimedDevice : public Device {
 public:
  TimedDevice(Device& device, bool cpu_time) : device_(device), cpu_time_(cpu_time) {}

  // Seconds in each kind of op since Reset().
  const std::map<std::string, double>& seconds() const { return seconds_; }
  void Reset() { seconds_.clear(); }

  const DeviceCapabilities& capabilities() const override { return device_.capabilities(); }
  StatusOr<std::unique_ptr<DeviceLinear>> LoadLinear(const LinearSpec& spec) override {
    return device_.LoadLinear(spec);
  }
  StatusOr<std::unique_ptr<DeviceVector>> LoadVector(const TensorView& vector) override {
    return device_.LoadVector(vector);
  }
  StatusOr<std::unique_ptr<DeviceTensor>> AllocateTensor(int32_t rows_max, int32_t cols) override {
    return device_.AllocateTensor(rows_max, cols);
  }
  int64_t StateUnitBytes(const ModelConfig& config, int32_t group) const override {
    return device_.StateUnitBytes(config, group);
  }
  StatusOr<std::unique_ptr<DeviceState>> AllocateState(const ModelConfig& config,
                                                       std::span<const int64_t> units) override {
    return device_.AllocateState(config, units);
  }

  void BeginStep(const ForwardBatch& batch) override {
    Time("begin_step", [&] { device_.BeginStep(batch); });
  }
  void Embed(const DeviceLinear& table, float scale, DeviceTensor& out) override {
    Time("embed", [&] { device_.Embed(table, scale, out); });
  }
  void RmsNorm(const RmsNormArgs& args) override {
    Time("rms_norm", [&] { device_.RmsNorm(args); });
  }
  void Linear(const LinearArgs& args) override {
    Time("linear", [&] { device_.Linear(args); });
  }
  void RopeAppendKv(const RopeAppendKvArgs& args) override {
    Time("rope_append_kv", [&] { device_.RopeAppendKv(args); });
  }
  void PagedAttention(const PagedAttentionArgs& args) override {
    Time("paged_attention", [&] { device_.PagedAttention(args); });
  }
  void Logits(const DeviceTensor& x,
              const DeviceLinear& weight,
              float scale,
              float cap,
              DeviceTensor& out) override {
    Time("logits", [&] { device_.Logits(x, weight, scale, cap, out); });
  }
  void Sample(const DeviceTensor& logits,
              std::span<const SampleRow> rows,
              std::span<SampledToken> result) override {
    Time("sample", [&] { device_.Sample(logits, rows, result); });
  }
  Status Synchronize() override { return device_.Synchronize(); }
  void ReadRow(const DeviceTensor& tensor, int32_t row, std::span<float> out) const override {
    device_.ReadRow(tensor, row, out);
  }

 private:
  template <typename Op>
  void Time(const char* name, const Op& op) {
    const double start = SecondsNow(cpu_time_);
    op();
    seconds_[name] += SecondsNow(cpu_time_) - start;
  }

  Device& device_;
  bool cpu_time_;
  std::map<std::string, double> seconds_;
};

}  // namespace inferd
