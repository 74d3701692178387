// What the AuditService does for payloads and witnesses.
#pragma once

#include <string>

#include "base/status.h"
#include "daemon/audit_state.h"
#include "governance/payload_access.h"

namespace inferd {

namespace v1 {
class ListWitnessesResponse;
class OpenPayloadResponse;
class PayloadView;
}  // namespace v1

void Fill(const PayloadView& view, v1::PayloadView& out);

// Opens what is kept of the view's request, for this actor (PayloadAccess::Look).
Status OpenPayload(AuditState& state,
                   const ActorFacts& actor,
                   const std::string& id,
                   v1::OpenPayloadResponse& response);

void FillWitnesses(const AuditState& state, v1::ListWitnessesResponse& response);

}  // namespace inferd
