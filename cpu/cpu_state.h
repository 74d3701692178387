// CpuState: the KV of one model on the CPU device, f16, one mapping for each state group.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/device.h"
#include "backend/kv_layout.h"
#include "cpu/mapped_memory.h"

namespace inferd {

// A KV head's part of a block is its keys [head_dim][64] (tokens contiguous, so that scores have
// tokens in their lanes and need no horizontal sums) and its values [64][head_dim_v].
// Memory is touched as blocks are written. Engine thread only, but for the team's reads and writes
// inside an op.
class CpuState final : public DeviceState {
 public:
  // kResourceExhausted if the memory cannot be mapped; kUnimplemented for a group of slots.
  static StatusOr<std::unique_ptr<CpuState>> Allocate(const ModelConfig& config,
                                                      std::span<const int64_t> units);
  static int64_t UnitBytes(const KvLayout& layout, int32_t group) {
    return layout.unit_values(group) * static_cast<int64_t>(sizeof(uint16_t));
  }

  int64_t size_bytes() const override { return size_bytes_; }
  bool copies_units() const override { return true; }
  void SaveUnit(int32_t group, BlockIndex unit, std::span<std::byte> out) const override;
  void LoadUnit(int32_t group, BlockIndex unit, std::span<const std::byte> in) override;

  // Unit 0's part of a KV head of a layer (or of the layer whose KV it reads); add
  // block * unit_bytes for others.
  struct HeadPart {
    uint8_t* keys = nullptr;
    uint8_t* values = nullptr;
    int64_t unit_bytes = 0;
  };
  HeadPart Part(int32_t layer, int32_t kv_head) const;
  int32_t GroupOf(int32_t layer) const { return layout_.part(layer).group; }

 private:
  explicit CpuState(const ModelConfig& config) : layout_(config) {}
  // The unit's memory; `bytes` must be as long as it is.
  uint8_t* UnitAt(int32_t group, BlockIndex unit, size_t bytes) const;

  KvLayout layout_;
  std::vector<MappedMemory> groups_;
  int64_t size_bytes_ = 0;
};

}  // namespace inferd
