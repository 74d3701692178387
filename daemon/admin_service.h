// The AuditService of inferd.v1.
#pragma once

#include <memory>

#include "daemon/audit_state.h"
#include "daemon/call_gate.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace inferd {

// Calls block on the log and on the disk: for a server with threads of its own. `state` outlives
// it.
std::unique_ptr<grpc::Service> MakeAuditService(AuditState& state, const CallGate& gate);

}  // namespace inferd
