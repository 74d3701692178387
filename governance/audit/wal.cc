#include "governance/audit/wal.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "governance/audit/wal_format.h"
#include "governance/verify/leaf_types.h"

namespace inferd {

WalWriter::WalWriter(Options options)
    : options_(std::move(options)),
      group_(options_.first_group),
      next_number_(options_.first_number) {
  CHECK(options_.segment_bytes >= kWalHeaderBytes + WalFrameBytes(kLeafBytesMax));
}

StatusOr<WalWriter::Segment> WalWriter::Make(uint64_t number) {
  Segment segment{.number = number, .epoch = RandomSeed(), .file = nullptr, .end_index = 0};
  ASSIGN_OR_RETURN(segment.file, options_.files->Create(options_.folder + '/' + WalName(number)));
  // Written, not only reserved: blocks that were never written cost a commit metadata.
  std::string zeros(std::min<uint64_t>(options_.segment_bytes, 1 << 20), '\0');
  zeros.replace(0, kWalHeaderBytes, EncodeWalHeader({.epoch = segment.epoch, .number = number}));
  for (uint64_t at = 0; at < options_.segment_bytes; at += zeros.size()) {
    zeros.resize(std::min<uint64_t>(zeros.size(), options_.segment_bytes - at));
    RETURN_IF_ERROR(segment.file->WriteAt(at, zeros));
    if (at == 0) {
      zeros.replace(0, kWalHeaderBytes, kWalHeaderBytes, '\0');
    }
  }
  RETURN_IF_ERROR(segment.file->Sync());
  RETURN_IF_ERROR(options_.files->SyncFolder(options_.folder));
  return segment;
}

Status WalWriter::PrepareSpare() {
  uint64_t number = 0;
  {
    MutexLock lock(mutex_);
    if (spare_ != nullptr) {
      return OkStatus();
    }
    number = next_number_++;
  }
  ASSIGN_OR_RETURN(Segment segment, Make(number));
  MutexLock lock(mutex_);
  spare_ = std::make_unique<Segment>(std::move(segment));
  return OkStatus();
}

Status WalWriter::Advance(uint64_t next_index) {
  std::unique_ptr<Segment> next;
  uint64_t number = 0;
  {
    MutexLock lock(mutex_);
    if (current_.file != nullptr) {
      current_.end_index = next_index;
      current_.file.reset();
      full_.push_back(std::move(current_));
    }
    next = std::move(spare_);
    number = next == nullptr ? next_number_++ : 0;
  }
  if (next == nullptr) {
    ASSIGN_OR_RETURN(Segment segment, Make(number));
    next = std::make_unique<Segment>(std::move(segment));
  }
  current_ = std::move(*next);
  offset_ = kWalHeaderBytes;
  return OkStatus();
}

Status WalWriter::Commit(uint64_t first_index, std::span<const std::string> leaves) {
  uint64_t size = 0;
  for (const std::string& leaf : leaves) {
    size += WalFrameBytes(leaf.size());
  }
  // A group lies in one segment, so that one sync makes it durable; one that is too large is two.
  if (size > options_.segment_bytes - kWalHeaderBytes) {
    const size_t half = leaves.size() / 2;
    CHECK(half > 0);
    RETURN_IF_ERROR(Commit(first_index, leaves.first(half)));
    return Commit(first_index + half, leaves.subspan(half));
  }
  if (current_.file == nullptr || offset_ + size > options_.segment_bytes) {
    RETURN_IF_ERROR(Advance(first_index));
  }
  buffer_.clear();
  for (size_t i = 0; i < leaves.size(); ++i) {
    AppendWalFrame(buffer_,
                   current_.epoch,
                   {.group = group_,
                    .index = first_index + i,
                    .position = static_cast<uint16_t>(i),
                    .count = static_cast<uint16_t>(leaves.size()),
                    .leaf = leaves[i]});
  }
  RETURN_IF_ERROR(current_.file->WriteAt(offset_, buffer_));
  RETURN_IF_ERROR(current_.file->SyncData());
  offset_ += buffer_.size();
  ++group_;
  return OkStatus();
}

Status WalWriter::Retire(uint64_t index) {
  while (true) {
    uint64_t number = 0;
    {
      MutexLock lock(mutex_);
      if (full_.empty() || full_.front().end_index > index) {
        return OkStatus();
      }
      number = full_.front().number;
      full_.pop_front();
    }
    // Not synced: a segment that comes back after a power cut holds nothing but what the tree has.
    RETURN_IF_ERROR(options_.files->Remove(options_.folder + '/' + WalName(number)));
  }
}

}  // namespace inferd
