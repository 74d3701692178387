#include "daemon/tenant_queue_service.h"

#include <atomic>

#include "daemon/explain_queue.h"
#include "daemon/wire.h"
#include "inferd/v1/queue.grpc.pb.h"

namespace inferd {
namespace {

using RawService = v1::QueueService::WithRawCallbackMethod_GetLoad<
    v1::QueueService::WithRawCallbackMethod_ExplainQueue<v1::QueueService::Service>>;

class Service final : public RawService {
 public:
  explicit Service(const TenantQueueServiceParts& parts) : parts_(parts) {}

  grpc::ServerUnaryReactor* GetLoad(grpc::CallbackServerContext* context,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override {
    auto* reactor = new UnaryReactor(
        parts_.gate.Enter("QueueService/GetLoad", *context),
        *context,
        *request,
        *response,
        [](const grpc::ByteBuffer&, CallScope&) -> StatusOr<grpc::ByteBuffer> {
          return ErrorF(StatusCode::kUnimplemented, "the load is told on the admin plane");
        });
    reactor->Run();
    return reactor;
  }

  grpc::ServerUnaryReactor* ExplainQueue(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override {
    auto* reactor =
        new UnaryReactor(parts_.gate.Enter("QueueService/ExplainQueue", *context),
                         *context,
                         *request,
                         *response,
                         Typed<v1::ExplainQueueRequest>([this](const auto& r, CallScope& scope) {
                           return Explain(r, scope.caller().tenant);
                         }));
    if (const Status admission = reactor->scope().admission(); !admission.ok()) {
      reactor->End(admission);
      return reactor;
    }
    if (in_work_.exchange(true)) {
      reactor->End(Busy());
      return reactor;
    }
    const bool posted = parts_.workers.TryPost([this, reactor] {
      reactor->Run();
      in_work_ = false;
    });
    if (!posted) {
      in_work_ = false;
      reactor->End(Busy());
    }
    return reactor;
  }

 private:
  static Status Busy() {
    return MakeError(Reason::kQueueFull, "too many calls ask for the queue; try again");
  }

  StatusOr<v1::ExplainQueueResponse> Explain(const v1::ExplainQueueRequest& request,
                                             const TenantId& tenant) const {
    v1::ExplainQueueResponse response;
    RETURN_IF_ERROR(ExplainRequests(parts_.engine, parts_.registry, &tenant, request, &response));
    return response;
  }

  const TenantQueueServiceParts parts_;
  std::atomic<bool> in_work_ = false;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeTenantQueueService(const TenantQueueServiceParts& parts) {
  return std::make_unique<Service>(parts);
}

}  // namespace inferd
