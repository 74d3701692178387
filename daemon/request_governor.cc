#include "daemon/request_governor.h"

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/file_system.h"
#include "daemon/audit_state.h"
#include "daemon/config_schema.h"
#include "daemon/error_map.h"
#include "governance/quota_leaf.h"

namespace inferd {
namespace {

constexpr uint64_t kPolicyFileBytesMax = 1 << 20;

std::vector<QuotaLimit> LimitsOf(const Config& config) {
  std::vector<QuotaLimit> limits;
  limits.reserve(config.quotas.size());
  for (const QuotaEntry& entry : config.quotas) {
    limits.push_back(ToQuotaLimit(entry));
  }
  return limits;
}

LeafType LeafOf(PolicyStep step) {
  switch (step) {
    case PolicyStep::kProposed:
      return LeafType::kPolicyProposed;
    case PolicyStep::kApproved:
      return LeafType::kPolicyApproved;
    case PolicyStep::kActivated:
      return LeafType::kPolicyActivated;
  }
  return LeafType::kPolicyActivated;
}

LeafDraft OwnDraft(LeafType type) {
  LeafDraft draft;
  draft.type = type;
  draft.tenant = TenantId(std::string(kLogTenant));
  return draft;
}

Status RecordPolicy(AuditState& audit, const PolicyChange& change) {
  LeafDraft draft = OwnDraft(LeafOf(change.step));
  draft.actor = PersonFacts(change.actor);
  draft.detail["set"] = change.set;
  if (!change.proposed_by.empty()) {
    draft.detail["proposed_by"] = change.proposed_by;
  }
  if (!change.approved_by.empty()) {
    draft.detail["approved_by"] = change.approved_by;
  }
  if (change.replaces.has_value()) {
    draft.detail["replaces"] = *change.replaces;
  }
  return audit.log().AppendAndWait(std::move(draft)).status();
}

Status RecordQuota(AuditState& audit, const QuotaChange& change) {
  LeafDraft draft = OwnDraft(LeafType::kQuotaChanged);
  draft.actor = PersonFacts(change.actor);
  draft.detail["what"] = std::string(change.removed ? "removed" : "set");
  // What it is now; strings of a leaf are bounded, and so is a limit's text.
  draft.detail["id"] = change.limit.id;
  draft.detail["scope"] = change.limit.scope.Text();
  draft.detail["metric"] = std::string(Name(change.limit.metric));
  draft.detail["mode"] = std::string(Name(change.limit.mode));
  draft.detail["limit"] = change.limit.limit;
  draft.detail["burst"] = change.limit.burst;
  if (change.limit.raise.has_value()) {
    draft.detail["raise_limit"] = change.limit.raise->limit;
    draft.detail["raise_until_us"] =
        static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                  change.limit.raise->until.time_since_epoch())
                                  .count());
  }
  return audit.log().AppendAndWait(std::move(draft)).status();
}

StatusOr<PolicySet::Pointer> ReadFirstSet(const Config& config) {
  ASSIGN_OR_RETURN(const std::string schema,
                   ReadOwnersFile(config.policy.schema, kPolicyFileBytesMax));
  ASSIGN_OR_RETURN(const std::string policies,
                   ReadOwnersFile(config.policy.policies, kPolicyFileBytesMax));
  auto set = PolicySet::Parse(schema, policies);
  return set.ok() ? std::move(set)
                  : StatusOr<PolicySet::Pointer>(Annotate(set.status(), config.policy.policies));
}

// From the log, which is published up to here first. Ends with a snapshot, so that the next start
// reads no further back than this one.
StatusOr<UsageByAccount> UsageFromLog(AuditState& audit) {
  RETURN_IF_ERROR(audit.log().Flush());
  ASSIGN_OR_RETURN(const auto shards, audit.Shards());
  std::vector<EntryReader*> readers;
  for (const auto& shard : shards) {
    readers.push_back(shard.get());
  }
  ASSIGN_OR_RETURN(const UsageFold fold, UsageFold::Restore(readers));
  if (!fold.usage().empty()) {
    for (LeafDraft& draft : SnapshotDrafts(fold)) {
      draft.actor = PersonFacts("inferd");
      RETURN_IF_ERROR(audit.log().AppendAndWait(std::move(draft)));
    }
  }
  return fold.usage();
}

}  // namespace

StatusOr<std::unique_ptr<RequestGovernor>> RequestGovernor::Open(const Config& config,
                                                                 AuditState* audit,
                                                                 const Clock& clock) {
  std::unique_ptr<RequestGovernor> governor(new RequestGovernor(clock));
  RETURN_IF_ERROR(governor->OpenPolicies(config, audit, clock));
  RETURN_IF_ERROR(governor->OpenQuotas(config, audit));
  return governor;
}

Status RequestGovernor::OpenPolicies(const Config& config, AuditState* audit, const Clock& clock) {
  const std::string folder = config.state_directory + "/policy";
  std::error_code error;
  const bool kept = std::filesystem::exists(folder, error);
  if (error) {
    return ErrorF(StatusCode::kUnavailable, "%s: cannot be looked at", folder);
  }
  if (config.policy.schema.empty() != config.policy.policies.empty()) {
    return ErrorF(StatusCode::kInvalidArgument, "policy: schema and policies are needed together");
  }
  // A set that was active stays so: taking the files out of the configuration opens nothing.
  if (config.policy.schema.empty() && !kept) {
    return OkStatus();
  }
  if (audit == nullptr) {
    return ErrorF(StatusCode::kInvalidArgument, "policy: needs the audit log (audit.mode)");
  }
  ASSIGN_OR_RETURN(policies_,
                   PolicyStore::Open({.files = SystemFiles(),
                                      .clock = clock,
                                      .folder = folder,
                                      .record = [audit](const PolicyChange& change) {
                                        return RecordPolicy(*audit, change);
                                      }}));
  if (policies_->active() == nullptr && !config.policy.schema.empty()) {
    ASSIGN_OR_RETURN(PolicySet::Pointer first, ReadFirstSet(config));
    RETURN_IF_ERROR(policies_->StartWith(std::move(first), config.policy.policies));
  }
  policy_ = std::make_unique<PolicyGate>(*policies_, clock);
  return OkStatus();
}

Status RequestGovernor::OpenQuotas(const Config& config, AuditState* audit) {
  UsageByAccount used;
  if (audit != nullptr) {
    ASSIGN_OR_RETURN(used, UsageFromLog(*audit));
  }
  ASSIGN_OR_RETURN(limits_,
                   QuotaStore::Open({.files = SystemFiles(),
                                     .folder = config.state_directory + "/quota",
                                     .record =
                                         [audit](const QuotaChange& change) {
                                           return audit == nullptr ? OkStatus()
                                                                   : RecordQuota(*audit, change);
                                         },
                                     .apply =
                                         [this](std::vector<QuotaLimit> limits) {
                                           return ledger().SetLimits(std::move(limits));
                                         }},
                                    LimitsOf(config)));
  return quotas_.Start(used, limits_->limits());
}

Status RequestGovernor::Reconfigure(const Config& config) {
  return limits_->Reconfigure(LimitsOf(config));
}

StatusOr<PolicyAnswer> RequestGovernor::MayUse(const CallScope& scope,
                                               std::string_view action,
                                               const ResidentModel& model,
                                               int64_t max_tokens,
                                               PolicyFacts* denied) const {
  if (policy_ == nullptr) {
    return PolicyAnswer();
  }
  const std::string address = AddressOf(scope.peer());
  return policy_->Ask(scope.caller(),
                      {.action = action,
                       .model = model.name,
                       .digest = model.digest,
                       .address = address,
                       .max_tokens = max_tokens},
                      denied);
}

Status RequestGovernor::Admit(GenerationCall& call, PreparedGeneration& prepared) {
  const ResidentModel& model = *prepared.facts.model;
  std::optional<int32_t>& max_tokens = prepared.request.stopping.max_tokens;
  const QuotaAmounts asked = UpperBoundOf(prepared.facts, prepared.request);
  PolicyFacts denied;
  auto answer = MayUse(call.scope, "generate", model, static_cast<int64_t>(asked.out), &denied);
  if (!answer.ok()) {
    call.governed.policy = denied;
    return answer.status();
  }
  if (policy_ != nullptr) {
    call.governed.policy = std::move(answer->facts);
  }
  if (answer->max_tokens > 0) {
    // Of all choices together, as the question's max_tokens is.
    const auto bound = static_cast<int32_t>(answer->max_tokens / prepared.request.n);
    if (bound == 0) {
      call.governed.policy->dec = "deny";
      return MakeError(Reason::kPolicyDenied,
                       absl::StrFormat("the policies allow %d tokens, which is none for each of %d "
                                       "choices; ask for fewer choices",
                                       answer->max_tokens,
                                       prepared.request.n));
    }
    max_tokens = std::min(max_tokens.value_or(bound), bound);
  }
  QuotaFacts quota_denied;
  auto admission = quotas_.Reserve(call.scope.caller(),
                                   model.name,
                                   UpperBoundOf(prepared.facts, prepared.request),
                                   &call.governed.fields,
                                   &quota_denied);
  if (!admission.ok()) {
    call.governed.quota_denied = std::move(quota_denied);
    return admission.status();
  }
  call.governed.reservation = std::move(admission->reservation);
  call.governed.fields = std::move(admission->fields);
  return OkStatus();
}

}  // namespace inferd
