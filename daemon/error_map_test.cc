// Goal: every error reaches the wire with its code, its reason and, where it helps, a delay.
#include "daemon/error_map.h"

#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace inferd {
namespace {

google::rpc::Status Rich(const grpc::Status& status) {
  google::rpc::Status rich;
  EXPECT_TRUE(rich.ParseFromString(status.error_details()));
  return rich;
}

template <typename Detail>
std::optional<Detail> Find(const google::rpc::Status& rich) {
  Detail detail;
  for (const auto& any : rich.details()) {
    if (any.UnpackTo(&detail)) {
      return detail;
    }
  }
  return std::nullopt;
}

TEST(ErrorMap, OkIsOk) { EXPECT_TRUE(ToGrpc(OkStatus()).ok()); }

TEST(ErrorMap, EveryReasonHasItsCodeAndNameOnTheWire) {
  const std::pair<Reason, grpc::StatusCode> rows[] = {
      {Reason::kInvalidField, grpc::INVALID_ARGUMENT},
      {Reason::kContextLengthExceeded, grpc::INVALID_ARGUMENT},
      {Reason::kRequestExceedsLimit, grpc::RESOURCE_EXHAUSTED},
      {Reason::kModelNotFound, grpc::NOT_FOUND},
      {Reason::kVersionPinMismatch, grpc::FAILED_PRECONDITION},
      {Reason::kModelLoading, grpc::UNAVAILABLE},
      {Reason::kQueueFull, grpc::UNAVAILABLE},
      {Reason::kDraining, grpc::UNAVAILABLE},
      {Reason::kDuplicateRequestId, grpc::ALREADY_EXISTS},
      {Reason::kSlowConsumer, grpc::ABORTED},
      {Reason::kDeadlineExceeded, grpc::DEADLINE_EXCEEDED},
      {Reason::kCancelled, grpc::CANCELLED},
      {Reason::kNotServed, grpc::UNIMPLEMENTED},
      {Reason::kEngineError, grpc::INTERNAL},
      {Reason::kDeviceLost, grpc::UNAVAILABLE},
  };
  for (const auto& [reason, code] : rows) {
    const Status error = MakeError(reason, "what happened");
    EXPECT_EQ(ReasonOf(error), reason);
    const grpc::Status status = ToGrpc(error);
    EXPECT_EQ(status.error_code(), code) << Name(reason);
    EXPECT_EQ(status.error_message(), "what happened");
    const google::rpc::Status rich = Rich(status);
    EXPECT_EQ(rich.code(), static_cast<int>(code));
    const auto info = Find<google::rpc::ErrorInfo>(rich);
    ASSERT_TRUE(info.has_value());
    EXPECT_EQ(info->reason(), Name(reason));
    EXPECT_EQ(info->domain(), "inferd");
    // What a later try can change says when; the rest does not.
    const auto retry = Find<google::rpc::RetryInfo>(rich);
    EXPECT_EQ(retry.has_value(), code == grpc::UNAVAILABLE) << Name(reason);
    EXPECT_EQ(RetryAfter(error).has_value(), retry.has_value());
  }
}

TEST(ErrorMap, RetryInfoHoldsTheDelay) {
  const auto retry =
      Find<google::rpc::RetryInfo>(Rich(ToGrpc(MakeError(Reason::kQueueFull, "full"))));
  ASSERT_TRUE(retry.has_value());
  EXPECT_EQ(retry->retry_delay().seconds(), 0);
  EXPECT_EQ(retry->retry_delay().nanos(), 500'000'000);
}

TEST(ErrorMap, FieldErrorsNameTheField) {
  const grpc::Status status = ToGrpc(MakeFieldError("sampling.top_p", "7 is not in (0, 1]"));
  EXPECT_EQ(status.error_message(), "sampling.top_p: 7 is not in (0, 1]");
  const auto bad = Find<google::rpc::BadRequest>(Rich(status));
  ASSERT_TRUE(bad.has_value());
  ASSERT_EQ(bad->field_violations_size(), 1);
  EXPECT_EQ(bad->field_violations(0).field(), "sampling.top_p");
}

TEST(ErrorMap, TakesTheFieldFromARoomsMessage) {
  const Status error =
      FromRoom(Status(StatusCode::kInvalidArgument, "min_tokens: -3 is not in [0, max_tokens]"));
  EXPECT_EQ(FieldOf(error), "min_tokens");
  EXPECT_EQ(Message(error), "min_tokens: -3 is not in [0, max_tokens]");
}

TEST(ErrorMap, AnInternalFaultShowsNothingOfItself) {
  const Status error = FromRoom(Status(StatusCode::kInternal, "secret pointer 0xdead"));
  EXPECT_EQ(ReasonOf(error), Reason::kEngineError);
  EXPECT_EQ(Message(error).find("0xdead"), std::string_view::npos);
}

TEST(ErrorMap, KeepsAReasonThatIsThere) {
  const Status error = FromRoom(MakeError(Reason::kDraining, "stopping"));
  EXPECT_EQ(ReasonOf(error), Reason::kDraining);
}

}  // namespace
}  // namespace inferd
