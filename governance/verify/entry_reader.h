// Reading leaves by index: what search, export and the verifier need of a log.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace inferd {

// One shard, as far as its published checkpoint covers it. Implementations say which thread.
class EntryReader {
 public:
  virtual ~EntryReader() = default;

  virtual const std::string& origin() const = 0;

  // Leaves that the published checkpoint covers now; grows.
  virtual StatusOr<uint64_t> Size() = 0;

  // Gives the leaves [first, last) in order until `visit` returns an error, which is passed on. The
  // bytes live for the call alone. kOutOfRange beyond Size(), kDataLoss for what cannot be read.
  using Visitor = std::function<Status(uint64_t index, std::string_view leaf)>;
  virtual Status Visit(uint64_t first, uint64_t last, const Visitor& visit) = 0;

  StatusOr<std::string> Read(uint64_t index);
};

}  // namespace inferd
