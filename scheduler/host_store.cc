#include "scheduler/host_store.h"

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "scheduler/tenant_table.h"

namespace inferd {

HostStore::HostStore(const ModelGeometry& geometry, const HostPool& pool)
    : geometry_(geometry),
      bytes_per_s_(pool.bytes_per_s),
      pools_(pool.units.begin(), pool.units.end()) {}

int64_t HostStore::UnitsOf(const Sequence& sequence) {
  int64_t units = 0;
  for (const Sequence::Table& table : sequence.tables_) {
    units += table.num_held();
  }
  return units;
}

Duration HostStore::CopyTime(const Sequence& sequence) const {
  int64_t bytes = 0;
  for (size_t g = 0; g < sequence.tables_.size(); ++g) {
    bytes += sequence.tables_[g].num_held() * geometry_.groups[g].unit_bytes;
  }
  return bytes_per_s_ == 0 ? Duration::zero()
                           : Duration(static_cast<int64_t>(static_cast<__int128>(2 * bytes) *
                                                           1'000'000'000 / bytes_per_s_));
}

bool HostStore::HasRoomFor(const Sequence& sequence) const {
  for (size_t g = 0; g < pools_.size(); ++g) {
    if (pools_[g].num_free() < sequence.tables_[g].num_held()) {
      return false;
    }
  }
  return !pools_.empty();
}

void HostStore::CopyOut(Sequence& sequence, std::vector<StateCopy>& copies) {
  sequence.on_host_.assign(pools_.size(), {});
  for (size_t g = 0; g < pools_.size(); ++g) {
    const Sequence::Table& table = sequence.tables_[g];
    CHECK(!table.borrowed);
    const size_t end =
        std::min(table.blocks.size(),
                 geometry_.groups[g].kind == StateKind::kSlot
                     ? size_t{1}
                     : static_cast<size_t>(StateGroup::BlocksFor(sequence.computed_)));
    for (size_t i = static_cast<size_t>(table.first_live); i < end; ++i) {
      const std::optional<BlockIndex> unit = pools_[g].Allocate();
      CHECK(unit.has_value());  // HasRoomFor
      sequence.on_host_[g].push_back(*unit);
      copies.push_back({.group = g,
                        .from = table.blocks[i],
                        .to = *unit,
                        .from_place = StatePlace::kDevice,
                        .to_place = StatePlace::kHost});
      ++sequence.tenant_->num_host_units;
    }
  }
}

void HostStore::CopyIn(Sequence& sequence, std::vector<StateCopy>& copies) {
  for (size_t g = 0; g < pools_.size(); ++g) {
    const Sequence::Table& table = sequence.tables_[g];
    for (size_t i = 0; i < sequence.on_host_[g].size(); ++i) {
      copies.push_back({.group = g,
                        .from = sequence.on_host_[g][i],
                        .to = table.blocks[static_cast<size_t>(table.first_live) + i],
                        .from_place = StatePlace::kHost,
                        .to_place = StatePlace::kDevice});
    }
  }
  Drop(sequence);
}

void HostStore::Drop(Sequence& sequence) {
  for (size_t g = 0; g < sequence.on_host_.size(); ++g) {
    for (const BlockIndex unit : sequence.on_host_[g]) {
      pools_[g].Release(unit);
      --sequence.tenant_->num_host_units;
    }
  }
  sequence.on_host_.clear();
}

int64_t HostStore::num_used() const {
  int64_t units = 0;
  for (const KvBlockPool& pool : pools_) {
    units += pool.num_used();
  }
  return units;
}

int64_t HostStore::capacity() const {
  int64_t units = 0;
  for (const KvBlockPool& pool : pools_) {
    units += pool.capacity();
  }
  return units;
}

Status HostStore::CheckIntegrity(std::span<const Sequence* const> swapped) const {
  for (size_t g = 0; g < pools_.size(); ++g) {
    RETURN_IF_ERROR(pools_[g].CheckIntegrity());
    int64_t units = 0;
    for (const Sequence* sequence : swapped) {
      for (const BlockIndex unit : sequence->on_host_[g]) {
        if (pools_[g].references(unit) != 1) {
          return ErrorF(
              StatusCode::kInternal, "host unit %d of group %d has many holders", unit, g);
        }
        ++units;
      }
    }
    if (units != pools_[g].num_used()) {
      return ErrorF(StatusCode::kInternal,
                    "group %d: %d units of the host are used, %d by sequences",
                    g,
                    pools_[g].num_used(),
                    units);
    }
  }
  return OkStatus();
}

}  // namespace inferd
