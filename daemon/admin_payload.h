// What the AuditService does for payloads and witnesses.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "daemon/audit_state.h"
#include "governance/payload_access.h"

namespace inferd {

namespace v1 {
class ListWitnessesResponse;
class OpenPayloadResponse;
class PayloadView;
class RequestPayloadRequest;
}  // namespace v1

// The leaves of a request that may cite payloads, as published.
StatusOr<std::vector<RequestLeaf>> LeavesOf(AuditState& state,
                                            const std::string& tenant,
                                            const std::string& rid);

void Fill(const PayloadView& view, v1::PayloadView& out);

// Asks for a view of a request, or of a time.
StatusOr<PayloadView> RequestPayload(AuditState& state,
                                     const ActorFacts& actor,
                                     const v1::RequestPayloadRequest& request);

// Opens what is kept of the view's request, for this actor (PayloadAccess::Look).
Status OpenPayload(AuditState& state,
                   const ActorFacts& actor,
                   const std::string& id,
                   v1::OpenPayloadResponse& response);

void FillWitnesses(const AuditState& state, v1::ListWitnessesResponse& response);

}  // namespace inferd
