// RunOnWorker: a unary call of the data plane whose handler may take longer than a gRPC callback
// may: through the gate at once, then on an ingress worker.
#pragma once

#include <string_view>
#include <utility>

#include "daemon/call_gate.h"
#include "daemon/error_map.h"
#include "daemon/wire.h"
#include "daemon/worker_pool.h"

namespace inferd {

// `handler(const Request&, CallScope&)` gives StatusOr<Response>. QUEUE_FULL if too many calls wait
// already.
template <typename Request, typename Handler>
grpc::ServerUnaryReactor* RunOnWorker(WorkerPool& workers,
                                      const CallGate& gate,
                                      std::string_view method,
                                      grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response,
                                      Handler handler) {
  auto* reactor = new UnaryReactor(gate.Enter(method, *context),
                                   *context,
                                   *request,
                                   *response,
                                   Typed<Request>(std::move(handler)));
  if (const Status admission = reactor->scope().admission(); !admission.ok()) {
    reactor->End(admission);
  } else if (!workers.TryPost([reactor] { reactor->Run(); })) {
    reactor->End(MakeWorkersBusyError());
  }
  return reactor;
}

}  // namespace inferd
