// A call of the admin plane, for the commands that make one and print its answer.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/status.h"

namespace inferd {

// The admin plane is a Unix socket: who may use it is its owner's matter, not TLS's.
inline std::shared_ptr<grpc::Channel> AdminChannel(const std::string& endpoint) {
  return grpc::CreateChannel(endpoint, grpc::InsecureChannelCredentials());
}

// The codes have equal numbers.
inline Status StatusFromWire(const grpc::Status& status) {
  return Status(static_cast<StatusCode>(status.error_code()), status.error_message());
}

// Blocks until the answer is there or the time is over. `method`: one of the stub's, as
// &v1::QueueService::Stub::GetLoad.
template <typename Stub, typename Method, typename Request, typename Response>
Status CallAdmin(
    Stub& stub, Method method, Duration timeout, const Request& request, Response& response) {
  grpc::ClientContext context;
  context.set_deadline(SystemClock().WallNow() + timeout);
  return StatusFromWire((stub.*method)(&context, request, &response));
}

}  // namespace inferd
