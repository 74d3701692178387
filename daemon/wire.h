// Bytes of gRPC to messages and back, and the end of a call. The services take raw bytes, so that
// a message that does not parse is refused with a reason, and parsing is done by ingress workers.
#pragma once

#include <google/protobuf/message_lite.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <utility>

#include "base/status.h"
#include "daemon/call_scope.h"
#include "daemon/error_map.h"
#include "daemon/quota_gate.h"
#include "governance/audit/leaf.h"

namespace inferd {

// INVALID_FIELD if the bytes are no such message: malformed, or a string that is not UTF-8.
Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite& message);
grpc::ByteBuffer SerializeMessage(const google::protobuf::MessageLite& message);

// The status for Finish; puts the retry trailers of retryable errors into the context.
grpc::Status EndStatus(const Status& status, grpc::CallbackServerContext& context);

// The trailers audit-origin, audit-index and audit-leaf; nothing for nullptr.
void AddRecordTrailers(const AuditReceipt* record, grpc::CallbackServerContext& context);

// The caller's limits: with the answer, or with the status where there is none, so that a refusal
// stays one frame.
void AddFields(const RateLimitFields& fields, bool answered, grpc::CallbackServerContext& context);

// One unary call that no engine works on. Run() or End() is called once, from any thread; the
// object deletes itself when gRPC is done with it. The handler runs only for a call that was
// admitted.
class UnaryReactor final : public grpc::ServerUnaryReactor {
 public:
  // Fills the response from the request. May use the scope.
  using Handler = std::function<StatusOr<grpc::ByteBuffer>(const grpc::ByteBuffer&, CallScope&)>;

  UnaryReactor(CallScope scope,
               grpc::CallbackServerContext& context,
               const grpc::ByteBuffer& request,
               grpc::ByteBuffer& response,
               Handler handler)
      : scope_(std::move(scope)),
        context_(context),
        request_(request),
        response_(response),
        handler_(std::move(handler)) {}

  const CallScope& scope() const { return scope_; }

  void Run() {
    if (const Status admission = scope_.admission(); !admission.ok()) {
      End(admission);
      return;
    }
    StatusOr<grpc::ByteBuffer> result = handler_(request_, scope_);
    if (result.ok()) {
      response_ = *std::move(result);
      End(OkStatus());
    } else {
      End(result.status());
    }
  }
  void End(const Status& status) {
    scope_.End(status);
    Finish(EndStatus(status, context_));
  }

 private:
  void OnDone() override { delete this; }

  CallScope scope_;
  grpc::CallbackServerContext& context_;
  const grpc::ByteBuffer request_;
  grpc::ByteBuffer& response_;
  const Handler handler_;
};

// `handler(const Request&, CallScope&)` gives StatusOr<Response>.
template <typename Request, typename TypedHandler>
UnaryReactor::Handler Typed(TypedHandler handler) {
  return [handler = std::move(handler)](const grpc::ByteBuffer& bytes,
                                        CallScope& scope) -> StatusOr<grpc::ByteBuffer> {
    Request request;
    RETURN_IF_ERROR(ParseMessage(bytes, request));
    const auto response = handler(request, scope);
    RETURN_IF_ERROR(response);
    return SerializeMessage(*response);
  };
}

}  // namespace inferd
