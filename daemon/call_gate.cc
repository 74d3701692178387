#include "daemon/call_gate.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/security/auth_context.h>
#include <grpcpp/server_context.h>

#include "daemon/error_map.h"
#include "daemon/method_rules.h"

namespace inferd {
namespace {

std::string Text(grpc::string_ref text) { return {text.data(), text.size()}; }

PeerFacts FactsOf(const grpc::ServerContextBase& context, std::optional<uint32_t> uid) {
  PeerFacts facts;
  facts.address = context.peer();
  facts.uid = uid;
  const auto auth = context.auth_context();
  if (auth != nullptr) {
    const auto transport = auth->FindPropertyValues(GRPC_TRANSPORT_SECURITY_TYPE_PROPERTY_NAME);
    facts.over_tls =
        transport.size() == 1 && Text(transport.front()) == GRPC_SSL_TRANSPORT_SECURITY_TYPE;
    const auto certificates = auth->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
    for (const grpc::string_ref& pem : certificates) {
      facts.certificate += Text(pem);
    }
  }
  const auto [begin, end] = context.client_metadata().equal_range("authorization");
  for (auto it = begin; it != end; ++it) {
    facts.authorization.push_back(Text(it->second));
  }
  return facts;
}

}  // namespace

CallScope CallGate::Enter(std::string_view method, const grpc::ServerContextBase& context) const {
  const PeerFacts facts = FactsOf(context, uid_);
  StatusOr<Caller> caller = authenticator_->Authenticate(facts, clock_->WallNow());
  const Status allowed = caller.ok() ? MayCall(*caller, method) : caller.status();
  if (allowed.ok()) {
    return {*clock_, method, facts.address, std::move(caller)};
  }
  const Status refusal = FromRoom(allowed);
  CallScope scope(*clock_, method, facts.address, refusal);
  if (recorder_ != nullptr) {
    recorder_->Refused(scope, caller.ok() ? &*caller : nullptr, refusal, nullptr);
  }
  return scope;
}

void CallGate::RecordDenial(const CallScope& scope,
                            const Status& why,
                            const PolicyFacts& policy) const {
  if (recorder_ != nullptr) {
    recorder_->Refused(scope, &scope.caller(), why, &policy);
  }
}

}  // namespace inferd
