// Small text forms that the vault, the key store and their neighbours share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"

namespace inferd {

// Lower-case hex digits.
std::string HexOf(std::string_view bytes);
StatusOr<std::string> BytesOfHex(std::string_view hex);

// Microseconds since 1970-01-01T00:00:00Z.
int64_t MicrosOf(WallTime time);
// "20261121", UTC.
std::string DayText(WallTime time);
// RFC 3339 in UTC, as leaves have it ("2026-11-21T13:35:22.000001Z"), or a day ("2026-11-21").
// kInvalidArgument for anything else.
StatusOr<WallTime> ParseTime(std::string_view text);

// A tenant's name as a folder's: letters, digits, '-' and '_' stay, other bytes become %XX.
std::string FolderName(std::string_view tenant);
// The tenant of a folder; nothing for what FolderName does not write.
std::optional<std::string> TenantOfFolder(std::string_view folder);

}  // namespace inferd
