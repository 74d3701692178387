#include "daemon/error_map.h"

#include <grpcpp/support/status.h>

#include <array>

#include "absl/strings/cord.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace inferd {
namespace {

constexpr char kDomain[] = "inferd";
constexpr char kReasonUrl[] = "inferd/reason";
constexpr char kFieldUrl[] = "inferd/field";
constexpr char kRetryUrl[] = "inferd/retry_ns";
constexpr char kQuotaUrl[] = "inferd/quota";  // a serialized QuotaFailure

struct Row {
  Reason reason;
  std::string_view name;
  StatusCode code;
  int retry_ms;  // 0: trying again does not help
};

constexpr std::array<Row, 29> kRows = {{
    {Reason::kInvalidField, "INVALID_FIELD", StatusCode::kInvalidArgument, 0},
    {Reason::kContextLengthExceeded, "CONTEXT_LENGTH_EXCEEDED", StatusCode::kInvalidArgument, 0},
    {Reason::kRequestExceedsLimit, "REQUEST_EXCEEDS_LIMIT", StatusCode::kResourceExhausted, 0},
    {Reason::kModelNotFound, "MODEL_NOT_FOUND", StatusCode::kNotFound, 0},
    {Reason::kVersionPinMismatch, "VERSION_PIN_MISMATCH", StatusCode::kFailedPrecondition, 0},
    {Reason::kModelLoading, "MODEL_LOADING", StatusCode::kUnavailable, 2000},
    {Reason::kQueueFull, "QUEUE_FULL", StatusCode::kUnavailable, 500},
    {Reason::kDraining, "DRAINING", StatusCode::kUnavailable, 1000},
    {Reason::kDuplicateRequestId, "DUPLICATE_REQUEST_ID", StatusCode::kAlreadyExists, 0},
    {Reason::kSlowConsumer, "SLOW_CONSUMER", StatusCode::kAborted, 0},
    {Reason::kDeadlineExceeded, "DEADLINE_EXCEEDED", StatusCode::kDeadlineExceeded, 0},
    {Reason::kCancelled, "CANCELLED", StatusCode::kCancelled, 0},
    {Reason::kNotServed, "NOT_SERVED", StatusCode::kUnimplemented, 0},
    {Reason::kEngineError, "ENGINE_ERROR", StatusCode::kInternal, 0},
    {Reason::kDeviceLost, "DEVICE_LOST", StatusCode::kUnavailable, 5000},
    {Reason::kAuditUnavailable, "AUDIT_UNAVAILABLE", StatusCode::kUnavailable, 1000},
    {Reason::kUnauthenticated, "UNAUTHENTICATED", StatusCode::kUnauthenticated, 0},
    {Reason::kPermissionDenied, "PERMISSION_DENIED", StatusCode::kPermissionDenied, 0},
    {Reason::kPolicyDenied, "POLICY_DENIED", StatusCode::kPermissionDenied, 0},
    {Reason::kRequestsPerMinute, "REQUESTS_PER_MINUTE", StatusCode::kResourceExhausted, 0},
    {Reason::kTokensPerMinute, "TOKENS_PER_MINUTE", StatusCode::kResourceExhausted, 0},
    {Reason::kConcurrency, "CONCURRENCY", StatusCode::kResourceExhausted, 0},
    {Reason::kKvTokens, "KV_TOKENS", StatusCode::kResourceExhausted, 0},
    {Reason::kTokenBudget, "TOKEN_BUDGET", StatusCode::kResourceExhausted, 0},
    {Reason::kSpendBudget, "SPEND_BUDGET", StatusCode::kResourceExhausted, 0},
    {Reason::kModelNotApproved, "MODEL_NOT_APPROVED", StatusCode::kFailedPrecondition, 0},
    {Reason::kModelRevoked, "MODEL_REVOKED", StatusCode::kPermissionDenied, 0},
    {Reason::kModelNotResident, "MODEL_NOT_RESIDENT", StatusCode::kUnavailable, 2000},
    {Reason::kModelNotPermitted, "MODEL_NOT_PERMITTED", StatusCode::kPermissionDenied, 0},
}};

const Row& RowOf(Reason reason) { return kRows[static_cast<size_t>(reason)]; }

constexpr bool RowsAreInOrder() {
  for (size_t i = 0; i < kRows.size(); ++i) {
    if (static_cast<size_t>(kRows[i].reason) != i) {
      return false;
    }
  }
  return true;
}
static_assert(RowsAreInOrder());

// abseil's codes are gRPC's.
static_assert(static_cast<int>(StatusCode::kCancelled) == grpc::StatusCode::CANCELLED);
static_assert(static_cast<int>(StatusCode::kInvalidArgument) == grpc::StatusCode::INVALID_ARGUMENT);
static_assert(static_cast<int>(StatusCode::kDeadlineExceeded) ==
              grpc::StatusCode::DEADLINE_EXCEEDED);
static_assert(static_cast<int>(StatusCode::kNotFound) == grpc::StatusCode::NOT_FOUND);
static_assert(static_cast<int>(StatusCode::kAlreadyExists) == grpc::StatusCode::ALREADY_EXISTS);
static_assert(static_cast<int>(StatusCode::kFailedPrecondition) ==
              grpc::StatusCode::FAILED_PRECONDITION);
static_assert(static_cast<int>(StatusCode::kAborted) == grpc::StatusCode::ABORTED);
static_assert(static_cast<int>(StatusCode::kUnimplemented) == grpc::StatusCode::UNIMPLEMENTED);
static_assert(static_cast<int>(StatusCode::kInternal) == grpc::StatusCode::INTERNAL);
static_assert(static_cast<int>(StatusCode::kResourceExhausted) ==
              grpc::StatusCode::RESOURCE_EXHAUSTED);
static_assert(static_cast<int>(StatusCode::kUnavailable) == grpc::StatusCode::UNAVAILABLE);
static_assert(static_cast<int>(StatusCode::kUnauthenticated) == grpc::StatusCode::UNAUTHENTICATED);
static_assert(static_cast<int>(StatusCode::kPermissionDenied) ==
              grpc::StatusCode::PERMISSION_DENIED);

Reason ReasonOfCode(StatusCode code) {
  switch (code) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kOutOfRange:
      return Reason::kInvalidField;
    case StatusCode::kNotFound:
      return Reason::kModelNotFound;
    case StatusCode::kUnavailable:
      return Reason::kQueueFull;
    case StatusCode::kResourceExhausted:
      return Reason::kRequestExceedsLimit;
    case StatusCode::kUnimplemented:
      return Reason::kNotServed;
    case StatusCode::kDeadlineExceeded:
      return Reason::kDeadlineExceeded;
    case StatusCode::kCancelled:
      return Reason::kCancelled;
    case StatusCode::kUnauthenticated:
      return Reason::kUnauthenticated;
    case StatusCode::kPermissionDenied:
      return Reason::kPermissionDenied;
    default:
      return Reason::kEngineError;
  }
}

std::string Payload(const Status& error, const char* url) {
  const auto payload = error.GetPayload(url);
  return payload.has_value() ? std::string(*payload) : std::string();
}

}  // namespace

std::string_view Name(Reason reason) { return RowOf(reason).name; }

Status MakeError(Reason reason, std::string_view message) {
  Status error(RowOf(reason).code, std::string(message));
  error.SetPayload(kReasonUrl, absl::Cord(std::string(Name(reason))));
  return error;
}

Status MakeAuditLostError() {
  Status error(StatusCode::kAborted, "the audit log could not take this call's record");
  error.SetPayload(kReasonUrl, absl::Cord(std::string(Name(Reason::kAuditUnavailable))));
  return error;
}

Status MakeWorkersBusyError() {
  return MakeError(Reason::kQueueFull, "too many calls wait to be read; try again");
}

Status MakeFieldError(std::string_view field, std::string_view message) {
  Status error = MakeError(Reason::kInvalidField, absl::StrFormat("%s: %s", field, message));
  error.SetPayload(kFieldUrl, absl::Cord(std::string(field)));
  return error;
}

Status MakeQuotaError(Reason reason,
                      std::string_view message,
                      std::optional<Duration> retry_after,
                      const std::vector<QuotaBreach>& breaches) {
  Status error = MakeError(reason, message);
  if (retry_after.has_value()) {
    error.SetPayload(kRetryUrl, absl::Cord(std::to_string(retry_after->count())));
  }
  google::rpc::QuotaFailure failure;
  for (const QuotaBreach& breach : breaches) {
    auto* violation = failure.add_violations();
    violation->set_subject(breach.subject);
    violation->set_description(breach.description);
  }
  error.SetPayload(kQuotaUrl, absl::Cord(failure.SerializeAsString()));
  return error;
}

Reason ReasonOf(const Status& error) {
  const std::string name = Payload(error, kReasonUrl);
  for (const Row& row : kRows) {
    if (row.name == name) {
      return row.reason;
    }
  }
  return ReasonOfCode(error.code());
}

bool HasReason(const Status& error) { return !Payload(error, kReasonUrl).empty(); }

std::string FieldOf(const Status& error) { return Payload(error, kFieldUrl); }

std::optional<Duration> RetryAfter(const Status& error) {
  if (const std::string own = error.ok() ? "" : Payload(error, kRetryUrl); !own.empty()) {
    return Duration(std::stoll(own));
  }
  const int retry_ms = error.ok() ? 0 : RowOf(ReasonOf(error)).retry_ms;
  return retry_ms == 0 ? std::nullopt
                       : std::optional<Duration>(std::chrono::milliseconds(retry_ms));
}

Status FromRoom(const Status& error) {
  if (error.ok() || !Payload(error, kReasonUrl).empty()) {
    return error;
  }
  const Reason reason = ReasonOf(error);
  if (reason == Reason::kEngineError) {
    return MakeError(reason, "the engine failed; the daemon's log has the request id");
  }
  if (reason != Reason::kInvalidField) {
    return MakeError(reason, Message(error));
  }
  // The rooms write "field: what is wrong".
  const std::string_view message = Message(error);
  const size_t colon = message.find(": ");
  const std::string_view field = message.substr(0, colon);
  if (colon == std::string_view::npos || field.find(' ') != std::string_view::npos) {
    return MakeError(reason, message);
  }
  return MakeFieldError(field, message.substr(colon + 2));
}

grpc::Status ToGrpc(const Status& error) {
  if (error.ok()) {
    return grpc::Status::OK;
  }
  google::rpc::Status rich;
  const std::string message(Message(error));
  rich.set_code(static_cast<int>(error.code()));
  rich.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(Name(ReasonOf(error))));
  info.set_domain(kDomain);
  rich.add_details()->PackFrom(info);
  if (const auto retry = RetryAfter(error)) {
    google::rpc::RetryInfo retry_info;
    const int64_t nanos = retry->count();
    retry_info.mutable_retry_delay()->set_seconds(nanos / 1'000'000'000);
    retry_info.mutable_retry_delay()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
    rich.add_details()->PackFrom(retry_info);
  }
  if (const std::string quota = Payload(error, kQuotaUrl); !quota.empty()) {
    google::rpc::QuotaFailure failure;
    if (failure.ParseFromString(quota)) {
      rich.add_details()->PackFrom(failure);
    }
  }
  if (const std::string field = FieldOf(error); !field.empty()) {
    google::rpc::BadRequest bad_request;
    auto* violation = bad_request.add_field_violations();
    violation->set_field(field);
    violation->set_description(message);
    rich.add_details()->PackFrom(bad_request);
  }
  return {static_cast<grpc::StatusCode>(error.code()), message, rich.SerializeAsString()};
}

}  // namespace inferd
