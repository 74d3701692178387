// How much of everything that quotas count.
#pragma once

#include <cstdint>

namespace inferd {

struct QuotaAmounts {
  uint64_t in = 0;     // tokens
  uint64_t out = 0;    // tokens
  uint64_t conc = 0;   // requests at a time
  uint64_t kv = 0;     // tokens whose KV is reserved
  uint64_t micro = 0;  // millionths of the currency
  friend bool operator==(const QuotaAmounts&, const QuotaAmounts&) = default;
};

}  // namespace inferd
