// The join of requests and the audit log: which leaf a call writes when, and what it waits for.
//
// A call that is submitted has an `admitted` leaf, and nothing of its answer leaves before that is
// durable; it ends with a `completed` leaf, durable before the final status. A refusal has a
// `denied` leaf and waits for nothing. No call here blocks gRPC, egress or the engine: the log
// calls back. Payloads (level full) are stored by the ingress worker and by a thread of this join.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "daemon/call_gate.h"
#include "daemon/generation_call.h"
#include "daemon/generation_request.h"
#include "governance/audit/audit_log.h"
#include "governance/vault.h"

namespace inferd {

// What the daemon's configuration says of a tenant's record.
struct AuditRule {
  AuditMode mode = AuditMode::kStrict;
  AuditLevel level = AuditLevel::kMetadata;
};

// An admitted leaf before it is one, and the prompt's content.
struct AdmittedLeaf {
  LeafDraft draft;
  std::string content;
};

// How a call ended, as its completed leaf says.
struct CallOutcome {
  Status status;
  AuditReceipt admitted;
  std::string content;  // of the output: AuditReceipt.salt in generation.proto says how it is made
  std::vector<AnsweredChoice> choices;  // unless the level is none
  uint64_t prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
  std::string finish;  // "stop", "length", several joined with '+'
  Duration queue{}, first_token{}, total{};
};

enum class AuditStage : uint8_t { kAdmitted, kEnded };

// What egress needs of the audit, so that it is tested without one. Calls do not block; each Admit
// and End has one answer, through the function that the implementation was given.
class CallAudit {
 public:
  virtual ~CallAudit() = default;
  virtual void End(const CallPtr& call, CallOutcome outcome) = 0;
  virtual void Deny(const GenerationCall& call, const Status& status) = 0;
};

// Thread-safe. The log and the vault outlive it.
class AuditJoin final : public CallAudit, public RefusalRecorder {
 public:
  using Deliver = std::function<void(CallPtr, AuditStage, StatusOr<AuditReceipt>)>;
  struct Options {
    AuditRule rule;  // for tenants that are not named
    std::map<std::string, AuditRule> tenants;
    std::string hardware;  // the device's name
    std::string build;     // digest of the program
  };
  // `log` is an AuditGate: floods and modes are its matter. `vault` may be nullptr if no tenant's
  // level is full. `subject_pepper` keys SubjectHash.
  AuditJoin(AuditLog& log, Vault* vault, SecretKey subject_pepper, Options options);
  ~AuditJoin() override;  // waits for payloads that are being stored

  // From now on tenants' calls are recorded so; calls in progress as they began.
  void set_tenants(std::map<std::string, AuditRule> tenants) EXCLUDES(rules_mutex_);

  // Where answers go. Set before the first call; reset before what it points to goes.
  void set_deliver(Deliver deliver) EXCLUDES(deliver_mutex_);

  // On an ingress worker, before the call is submitted: fills call.record, and makes its leaf.
  AdmittedLeaf Prepare(GenerationCall& call,
                       const PreparedGeneration& prepared,
                       std::string_view end_user) const;
  // On an ingress worker, once it is. Stores the prompt first at level full.
  void Admit(const CallPtr& call, AdmittedLeaf leaf);

  void End(const CallPtr& call, CallOutcome outcome) override EXCLUDES(jobs_mutex_);
  void Deny(const GenerationCall& call, const Status& status) override;
  // An authn.failed leaf if nobody knows who it was, else one of the refused act.
  void Refused(const CallScope& scope,
               const Caller* caller,
               const Status& why,
               const PolicyFacts* policy) override;

 private:
  AuditRule RuleFor(const std::string& tenant) const EXCLUDES(rules_mutex_);
  AppendCallback Answer(const CallPtr& call, AuditStage stage);
  void Answer(const CallPtr& call, AuditStage stage, StatusOr<AuditReceipt> result)
      EXCLUDES(deliver_mutex_);
  void AppendEnd(const CallPtr& call, LeafDraft draft, const CallOutcome& outcome);
  Status StoreEnd(const GenerationCall& call, const CallOutcome& outcome, OutcomeFacts& facts);
  LeafDraft EndDraft(const GenerationCall& call, const CallOutcome& outcome) const;
  void Run();

  AuditLog& log_;
  Vault* const vault_;
  const SecretKey subject_pepper_;
  const Options options_;
  mutable Mutex rules_mutex_;
  std::map<std::string, AuditRule> tenants_ GUARDED_BY(rules_mutex_);
  Mutex deliver_mutex_;
  Deliver deliver_ GUARDED_BY(deliver_mutex_);
  // Payloads of answers, stored on a thread of their own. Bounded by the calls in flight.
  Mutex jobs_mutex_;
  std::condition_variable jobs_ready_;
  std::deque<std::function<void()>> jobs_ GUARDED_BY(jobs_mutex_);
  bool stopping_ GUARDED_BY(jobs_mutex_) = false;
  std::thread thread_;
};

}  // namespace inferd
