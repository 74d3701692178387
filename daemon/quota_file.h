// Quota files: limits by themselves, in the words of the configuration, for `quota simulate`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "governance/quota/quota_limit.h"

namespace inferd {

inline constexpr size_t kQuotaFileBytesMax = 1 << 20;

// Of a YAML text with a list `quotas`. kInvalidArgument with every error, a line each, with its
// place in the file of that name.
StatusOr<std::vector<QuotaLimit>> ParseQuotaFile(std::string_view text,
                                                 const std::string& file_name);

}  // namespace inferd
