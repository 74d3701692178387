// What the C interface rust/policy.h returns, as values of ours.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "rust/policy.h"

namespace inferd::policy_internal {

inline RustSlice AsSlice(std::string_view text) { return {text.data(), text.size()}; }

// Frees `buffer`.
inline std::string TakeString(RustBuffer buffer) {
  std::string text(buffer.data, buffer.size);
  RustBufferFree(buffer);
  return text;
}

// The error of a call that returned `code`, which is not kRustOk. Frees `message`.
inline Status TakeError(RustCode code, RustBuffer message) {
  const StatusCode status = code == kRustInvalid     ? StatusCode::kInvalidArgument
                            : code == kRustExhausted ? StatusCode::kResourceExhausted
                                                     : StatusCode::kInternal;
  return ErrorF(status, "%s", TakeString(message));
}

struct SetFree {
  void operator()(RustPolicySet* set) const { RustPolicySetFree(set); }
};
struct EntitiesFree {
  void operator()(RustPolicyEntities* entities) const { RustPolicyEntitiesFree(entities); }
};

}  // namespace inferd::policy_internal
