#include "client/audit_client.h"

namespace inferd {

AuditClient::AuditClient(const std::string& endpoint, Duration timeout)
    : timeout_(timeout), stub_(v1::AuditService::NewStub(AdminChannel(endpoint))) {}

}  // namespace inferd
