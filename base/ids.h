// Strong ids: a number or a name that cannot be mistaken for another.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>

namespace inferd {

// Id<Tag, T> is a T with a type of its own: ordered, hashable, never converted silently.
template <typename Tag, typename T>
class Id {
 public:
  Id() = default;
  explicit Id(T value) : value_(std::move(value)) {}
  const T& value() const { return value_; }
  friend auto operator<=>(const Id&, const Id&) = default;

 private:
  T value_{};
};

// Who pays and who is isolated from whom. Derived from the caller's credential, never a field.
using TenantId = Id<struct TenantIdTag, std::string>;
// One call, across logs, audit and replies.
using RequestId = Id<struct RequestIdTag, std::string>;
// A model resident on one device, as an index into that device's models.
using ModelSlot = Id<struct ModelSlotTag, uint32_t>;
// One sequence (one choice of one request) on one device. Never reused.
using SequenceId = Id<struct SequenceIdTag, uint64_t>;

// A token of a model's vocabulary. Negative never occurs in a valid list.
using TokenId = int32_t;
// A KV block of one state group, as an index into that group's pool.
using BlockIndex = uint32_t;
// A block table entry of a block that was given back because it lies behind the window.
inline constexpr BlockIndex kNoBlock = std::numeric_limits<BlockIndex>::max();

// Tokens in a KV block, an attention tile and a prefix-cache unit, on every device.
inline constexpr int kBlockTokens = 64;

}  // namespace inferd

template <typename Tag, typename T>
struct std::hash<inferd::Id<Tag, T>> {
  size_t operator()(const inferd::Id<Tag, T>& id) const noexcept {
    return std::hash<T>{}(id.value());
  }
};
