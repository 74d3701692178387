// The TenantService and the KeyService of inferd.v1. Admin plane.
#pragma once

#include <memory>

#include "base/clock.h"
#include "daemon/audit_state.h"
#include "daemon/call_gate.h"
#include "daemon/identity_state.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace inferd {

// Everything here outlives the services.
struct IdentityServiceParts {
  IdentityState& identity;
  ApiKeyStore* keys = nullptr;  // absent: there is no secret for API keys
  AuditState* audit = nullptr;  // absent: no audit log
  const Clock& clock;
  const CallGate gate;
};

// Calls wait for their leaf and for the disk: for a server with threads of its own.
std::unique_ptr<grpc::Service> MakeTenantService(const IdentityServiceParts& parts);
std::unique_ptr<grpc::Service> MakeKeyService(const IdentityServiceParts& parts);

}  // namespace inferd
