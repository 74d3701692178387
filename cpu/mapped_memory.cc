#include "cpu/mapped_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace inferd {

StatusOr<MappedMemory> MappedMemory::Allocate(int64_t size_bytes) {
  MappedMemory memory;
  if (size_bytes <= 0) {
    return memory;
  }
  void* mapped = mmap(nullptr,
                      static_cast<size_t>(size_bytes),
                      PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                      -1,
                      0);
  if (mapped == MAP_FAILED) {
    return ErrorF(StatusCode::kResourceExhausted,
                  "mapping %d bytes of memory: %s",
                  size_bytes,
                  std::strerror(errno));
  }
  memory.data_ = static_cast<uint8_t*>(mapped);
  memory.size_bytes_ = size_bytes;
  if (size_bytes >= kHugeFrom) {
    madvise(mapped, static_cast<size_t>(size_bytes), MADV_HUGEPAGE);  // advice: refusal is fine
  }
  return memory;
}

MappedMemory::~MappedMemory() {
  if (data_ != nullptr) {
    munmap(data_, static_cast<size_t>(size_bytes_));
  }
}

}  // namespace inferd
