// What the C interface of `rust` returns, as values of ours.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "rust/text.h"

namespace inferd::text_internal {

inline RustSlice AsSlice(std::string_view text) { return {text.data(), text.size()}; }

// Frees `buffer`.
inline std::string TakeString(RustBuffer buffer) {
  std::string text(buffer.data, buffer.size);
  RustBufferFree(buffer);
  return text;
}

// Frees `ids`.
inline std::vector<TokenId> TakeIds(RustIds ids) {
  std::vector<TokenId> tokens(ids.data, ids.data + ids.size);
  RustIdsFree(ids);
  return tokens;
}

// The error of a call that returned `code`, which is not kRustOk. Frees `message`.
inline Status TakeError(RustCode code, RustBuffer message, std::string_view context) {
  const StatusCode status = code == kRustInvalid     ? StatusCode::kInvalidArgument
                            : code == kRustExhausted ? StatusCode::kResourceExhausted
                                                     : StatusCode::kInternal;
  return ErrorF(status, "%s: %s", context, TakeString(message));
}

}  // namespace inferd::text_internal
