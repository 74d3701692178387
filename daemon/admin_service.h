// The AuditService of inferd.v1, for one actor: the peer of one admin connection.
#pragma once

#include <memory>
#include <string>

#include "daemon/audit_state.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace inferd {

// Calls block on the log and on the disk: for a server with threads of its own. `state` outlives
// it.
std::unique_ptr<grpc::Service> MakeAuditService(AuditState& state, const std::string& actor_id);

}  // namespace inferd
