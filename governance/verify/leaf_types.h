// The kinds of leaves, and the names of what every leaf holds. Shared by whoever writes leaves and
// by the verifier, which needs nothing else of the writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace inferd {

enum class LeafType : uint8_t {
  kInferenceAdmitted,
  kInferenceCompleted,
  kInferenceDenied,
  kInferenceAborted,
  kDeniedSummary,
  kEgressSent,
  kEgressReceived,
  kModelRegistered,
  kModelVerified,
  kModelRefused,
  kModelApproved,
  kModelAliasMoved,
  kModelLoaded,
  kModelUnloaded,
  kModelRevoked,
  kModelCanary,
  kModelRolledBack,
  kModelRolloutProposed,
  kModelRolloutApproved,
  kPolicyProposed,
  kPolicyApproved,
  kPolicyActivated,
  kQuotaChanged,
  kQuotaAdjusted,
  kQuotaSnapshot,
  kTenantChanged,
  kKeyIssued,
  kKeyRevoked,
  kKeyRotated,
  kAuthnFailed,
  kAdminLogin,
  kAdminAction,
  kReviewOpened,
  kReviewSignedOff,
  kReviewPayloadViewed,
  kReviewExported,
  kHoldSet,
  kHoldReleased,
  kEraseRequested,
  kEraseApproved,
  kEraseExecuted,
  kEraseRefused,
  kReplayPerformed,
  kLogGenesis,
  kLogHeartbeat,
  kLogGap,
  kLogMode,
  kLogFrozen,
  kLogRecovered,
  kConfigChanged,
};
inline constexpr size_t kNumLeafTypes = static_cast<size_t>(LeafType::kConfigChanged) + 1;

// "inference.admitted".
std::string_view Name(LeafType type);
std::optional<LeafType> LeafTypeFromName(std::string_view name);

// Is this one of log.*: written by the log about itself, under kLogTenant?
bool IsLogType(LeafType type);

// The tenant of leaves that belong to none: the log's own, and acts on the whole daemon.
inline constexpr std::string_view kLogTenant = "_log";

// Largest leaf. The format would allow 65,535 bytes.
inline constexpr uint64_t kLeafBytesMax = 16 * 1024;

}  // namespace inferd
