// The one table of what can go wrong with a call, and how the wire says so.
//
// Inside the daemon an error is a Status whose payloads carry its reason; MakeError makes one, and
// ToGrpc turns it into the rich form: google.rpc.ErrorInfo always, RetryInfo for what is worth
// retrying, BadRequest for a bad field.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace grpc {
class Status;
}  // namespace grpc

namespace inferd {

enum class Reason : uint8_t {
  kInvalidField,
  kContextLengthExceeded,
  kRequestExceedsLimit,  // larger than what this daemon can ever hold
  kModelNotFound,
  kVersionPinMismatch,
  kModelLoading,
  kQueueFull,
  kDraining,
  kDuplicateRequestId,
  kSlowConsumer,
  kDeadlineExceeded,
  kCancelled,
  kNotServed,
  kEngineError,
  kDeviceLost,
  kAuditUnavailable,   // the audit log takes no leaves
  kUnauthenticated,    // nobody whom we know calls
  kPermissionDenied,   // that caller may not do this
  kPolicyDenied,       // a rule, or none, says so
  kRequestsPerMinute,  // quotas: what is used up
  kTokensPerMinute,
  kConcurrency,
  kKvTokens,
  kTokenBudget,
  kSpendBudget,
  kModelNotApproved,   // the version has not the approvals that it needs
  kModelRevoked,       // the version was taken back for good
  kModelNotResident,   // the version that answers is not in memory
  kModelNotPermitted,  // the tenant's file names other models, or signed ones alone
};

// The wire's name of a reason, "QUEUE_FULL".
std::string_view Name(Reason reason);

// `message` says what, which id, what to do next; never prompt text.
Status MakeError(Reason reason, std::string_view message);
// kAuditUnavailable for a call that has sent something already: ABORTED instead of UNAVAILABLE.
Status MakeAuditLostError();
// kInvalidField with a BadRequest violation of `field` ("sampling.top_p").
Status MakeFieldError(std::string_view field, std::string_view message);
// kQueueFull, of the ingress workers.
Status MakeWorkersBusyError();

// A limit that a request is over, for google.rpc.QuotaFailure.
struct QuotaBreach {
  std::string subject;  // "org:o/tenant:t"
  std::string description;
};
// One of the quotas' reasons, or kRequestExceedsLimit. `retry_after`: when it would pass.
Status MakeQuotaError(Reason reason,
                      std::string_view message,
                      std::optional<Duration> retry_after,
                      const std::vector<QuotaBreach>& breaches);

// The reason of an error; errors of other rooms, which carry none, get the one that fits their
// code.
Reason ReasonOf(const Status& error);
// Does it carry one of its own?
bool HasReason(const Status& error);
// The violated field, or "".
std::string FieldOf(const Status& error);
// When to try again; nullopt if trying again does not help.
std::optional<Duration> RetryAfter(const Status& error);

// What the engine or a text room refused, as the caller should see it: a bad field keeps its
// message, an internal fault shows nothing but that it is one.
Status FromRoom(const Status& error);

// Never fails; OK becomes OK.
grpc::Status ToGrpc(const Status& error);

}  // namespace inferd
