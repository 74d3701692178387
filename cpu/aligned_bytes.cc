#include "cpu/aligned_bytes.h"

#include <sys/mman.h>

#include <cstdlib>

#include "base/check.h"

namespace inferd::cpu_internal {
namespace {

constexpr int64_t kCacheLine = 64;
constexpr int64_t kHugePage = int64_t{2} << 20;

}  // namespace

AlignedBytes::AlignedBytes(int64_t size) : size_(size) {
  const int64_t alignment = size >= 2 * kHugePage ? kHugePage : kCacheLine;
  const int64_t rounded = (size + alignment - 1) / alignment * alignment;
  void* bytes = std::aligned_alloc(static_cast<size_t>(alignment), static_cast<size_t>(rounded));
  CHECK(bytes != nullptr);
  if (alignment == kHugePage) {
    madvise(bytes, static_cast<size_t>(rounded), MADV_HUGEPAGE);  // a hint; may be refused
  }
  bytes_.reset(static_cast<uint8_t*>(bytes));
}

void AlignedBytes::Reserve(int64_t size) {
  if (size > size_) {
    *this = AlignedBytes();  // gives the old bytes back first
    *this = AlignedBytes(size);
  }
}

void AlignedBytes::Free::operator()(uint8_t* bytes) const { std::free(bytes); }

}  // namespace inferd::cpu_internal
