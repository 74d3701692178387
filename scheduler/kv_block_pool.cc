#include "scheduler/kv_block_pool.h"

#include "base/check.h"

namespace inferd {

KvBlockPool::KvBlockPool(int64_t capacity) {
  CHECK(capacity >= 0 && capacity < static_cast<int64_t>(kNoBlock));
  references_.resize(static_cast<size_t>(capacity), 0);
  free_.reserve(references_.size());
  for (size_t i = references_.size(); i > 0; --i) {  // block 0 on top
    free_.push_back(static_cast<BlockIndex>(i - 1));
  }
}

std::optional<BlockIndex> KvBlockPool::Allocate() {
  if (free_.empty()) {
    return std::nullopt;
  }
  const BlockIndex block = free_.back();
  free_.pop_back();
  DCHECK(references_[block] == 0);
  references_[block] = 1;
  return block;
}

void KvBlockPool::AddReference(BlockIndex block) {
  CHECK(block < references_.size() && references_[block] > 0);
  ++references_[block];
}

void KvBlockPool::Release(BlockIndex block) {
  CHECK(block < references_.size() && references_[block] > 0);
  if (--references_[block] == 0) {
    free_.push_back(block);
  }
}

Status KvBlockPool::CheckIntegrity() const {
  std::vector<bool> is_free(references_.size(), false);
  for (const BlockIndex block : free_) {
    if (block >= references_.size() || is_free[block]) {
      return ErrorF(StatusCode::kInternal, "block %u is free twice or out of range", block);
    }
    if (references_[block] != 0) {
      return ErrorF(
          StatusCode::kInternal, "block %u is free with %u references", block, references_[block]);
    }
    is_free[block] = true;
  }
  for (size_t block = 0; block < references_.size(); ++block) {
    if (!is_free[block] && references_[block] == 0) {
      return ErrorF(StatusCode::kInternal, "block %u is lost: not free, no references", block);
    }
  }
  return OkStatus();
}

}  // namespace inferd
