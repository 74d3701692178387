// AdminCall: one call of a service of the admin plane, from its gate to its line in the log.
#pragma once

#include <grpcpp/support/status.h>

#include <string>
#include <string_view>

#include "base/status.h"
#include "daemon/call_gate.h"
#include "daemon/call_scope.h"
#include "daemon/error_map.h"

namespace inferd {

// Runs `work(const Caller&)`, which gives a Status, if the gate lets the call in. Its errors are
// shown as they are: administrators may know what rooms say.
template <typename Work>
grpc::Status AdminCall(const CallGate& gate,
                       std::string_view method,
                       const grpc::ServerContextBase& context,
                       Work work) {
  CallScope scope = gate.Enter(method, context);
  const Status admission = scope.admission();
  const Status status = admission.ok() ? work(scope.caller()) : admission;
  scope.End(status);
  if (!admission.ok() || status.ok()) {
    return ToGrpc(status);
  }
  return {static_cast<grpc::StatusCode>(status.code()), std::string(Message(status))};
}

}  // namespace inferd
