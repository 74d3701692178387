// CallGate: the one way into the handlers of a plane. It finds out who calls and whether that
// caller may use the method, and records whom it turned away.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"
#include "daemon/authenticator.h"
#include "daemon/call_scope.h"

namespace grpc {
class ServerContextBase;
}  // namespace grpc

namespace inferd {

// Who is told of a call that was turned away. Does not block.
class RefusalRecorder {
 public:
  virtual ~RefusalRecorder() = default;
  // `caller` is nullptr if nobody knows who it was, `policy` if no policy decided it.
  virtual void Refused(const CallScope& scope,
                       const Caller* caller,
                       const Status& why,
                       const PolicyFacts* policy) = 0;
};

// A plain value; what it refers to outlives it. Thread-safe.
class CallGate {
 public:
  // `recorder` may be nullptr. `uid`: of the peer, on the admin socket alone.
  CallGate(const Authenticator& authenticator,
           const Clock& clock,
           RefusalRecorder* recorder,
           std::optional<uint32_t> uid = std::nullopt)
      : authenticator_(&authenticator), clock_(&clock), recorder_(recorder), uid_(uid) {}

  // `method` as in MethodRules, a literal. The scope's admission() says whether to go on.
  CallScope Enter(std::string_view method, const grpc::ServerContextBase& context) const;
  // Of a call that was let in, and turned away by a policy after that.
  void RecordDenial(const CallScope& scope, const Status& why, const PolicyFacts& policy) const;

  const Clock& clock() const { return *clock_; }

 private:
  const Authenticator* authenticator_;
  const Clock* clock_;
  RefusalRecorder* recorder_;
  std::optional<uint32_t> uid_;
};

}  // namespace inferd
