// AuditClient: inferd.v1.AuditService of the admin plane, for the audit commands. The one header of
// the room that shows protobuf's types; include it from audit_*.cc alone.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "client/admin_call.h"
#include "inferd/v1/audit.grpc.pb.h"

namespace inferd {

// Calls block. Statuses are the daemon's.
class AuditClient {
 public:
  // `endpoint` is unix:PATH. Connects with the first call.
  AuditClient(const std::string& endpoint, Duration timeout);

  // `call` is a method of the stub: Call(&Stub::GetLog, request).
  template <typename Request, typename Response>
  StatusOr<Response> Call(grpc::Status (v1::AuditService::Stub::*call)(grpc::ClientContext*,
                                                                       const Request&,
                                                                       Response*),
                          const Request& request) {
    Response response;
    RETURN_IF_ERROR(CallAdmin(*stub_, call, timeout_, request, response));
    return response;
  }

 private:
  const Duration timeout_;
  const std::unique_ptr<v1::AuditService::Stub> stub_;
};

}  // namespace inferd
