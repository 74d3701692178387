#include "client/audit_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

namespace inferd {

AuditClient::AuditClient(const std::string& endpoint, Duration timeout)
    : timeout_(timeout),
      stub_(v1::AuditService::NewStub(
          grpc::CreateChannel(endpoint, grpc::InsecureChannelCredentials()))) {}

void AuditClient::SetDeadline(grpc::ClientContext& context) const {
  context.set_deadline(SystemClock().WallNow() + timeout_);
}

}  // namespace inferd
