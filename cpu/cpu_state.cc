#include "cpu/cpu_state.h"

#include <cstring>
#include <limits>

#include "base/check.h"

namespace inferd {
namespace {

// Kernels read whole vectors of values: up to 30 bytes beyond the last.
constexpr int64_t kTailBytes = 64;

}  // namespace

StatusOr<std::unique_ptr<CpuState>> CpuState::Allocate(const ModelConfig& config,
                                                       std::span<const int64_t> units) {
  CHECK(units.size() == config.geometry.groups.size());
  auto state = std::unique_ptr<CpuState>(new CpuState(config));
  for (size_t g = 0; g < units.size(); ++g) {
    if (config.geometry.groups[g].kind != StateKind::kBlocks) {
      return ErrorF(StatusCode::kUnimplemented, "state group %d: recurrent slots", g);
    }
    const int64_t unit_bytes = UnitBytes(state->layout_, static_cast<int32_t>(g));
    if (units[g] < 0 ||
        (unit_bytes > 0 &&
         units[g] > (std::numeric_limits<int64_t>::max() - kTailBytes) / unit_bytes)) {
      return ErrorF(StatusCode::kResourceExhausted,
                    "state group %d: %d units of %d bytes",
                    g,
                    units[g],
                    unit_bytes);
    }
    ASSIGN_OR_RETURN(MappedMemory memory,
                     MappedMemory::Allocate(units[g] * unit_bytes + kTailBytes));
    state->size_bytes_ += units[g] * unit_bytes;
    state->groups_.push_back(std::move(memory));
  }
  return state;
}

uint8_t* CpuState::UnitAt(int32_t group, BlockIndex unit, size_t bytes) const {
  const int64_t unit_bytes = UnitBytes(layout_, group);
  const MappedMemory& memory = groups_[static_cast<size_t>(group)];
  CHECK(static_cast<int64_t>(bytes) == unit_bytes &&
        (int64_t{unit} + 1) * unit_bytes <= memory.size_bytes() - kTailBytes);
  return memory.data() + int64_t{unit} * unit_bytes;
}

void CpuState::SaveUnit(int32_t group, BlockIndex unit, std::span<std::byte> out) const {
  std::memcpy(out.data(), UnitAt(group, unit, out.size()), out.size());
}

void CpuState::LoadUnit(int32_t group, BlockIndex unit, std::span<const std::byte> in) {
  std::memcpy(UnitAt(group, unit, in.size()), in.data(), in.size());
}

CpuState::HeadPart CpuState::Part(int32_t layer, int32_t kv_head) const {
  const KvLayerPart& part = layout_.part(layer);
  constexpr auto kValueBytes = static_cast<int64_t>(sizeof(uint16_t));
  const int64_t head_values = static_cast<int64_t>(kv_head) * kBlockTokens;
  uint8_t* unit0 = groups_[static_cast<size_t>(part.group)].data();
  return {.keys = unit0 + (part.k_offset + head_values * part.head_dim) * kValueBytes,
          .values = unit0 + (part.v_offset + head_values * part.head_dim_v) * kValueBytes,
          .unit_bytes = UnitBytes(layout_, part.group)};
}

}  // namespace inferd
