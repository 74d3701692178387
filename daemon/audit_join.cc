#include "daemon/audit_join.h"

#include <algorithm>

#include "daemon/error_map.h"
#include "daemon/replay_record.h"
#include "governance/audit/canonical_json.h"
#include "governance/quota_leaf.h"
#include "inferd/v1/replay.pb.h"

namespace inferd {
namespace {

// As 4 bytes each, little-endian.
std::string IdBytes(std::span<const TokenId> ids) {
  std::string bytes;
  bytes.reserve(4 * ids.size());
  for (const TokenId id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      bytes.push_back(static_cast<char>(static_cast<uint32_t>(id) >> shift & 0xff));
    }
  }
  return bytes;
}

uint64_t Micros(Duration duration) {
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  return static_cast<uint64_t>(std::max<int64_t>(micros, 0));
}

SamplingFacts SamplingOf(const GenerationRequest& request, const CallRecord& record) {
  const SamplingParams& in = request.sampling;
  SamplingFacts out;
  out.temperature = in.temperature;
  out.top_k = in.top_k;
  out.top_p = in.top_p;
  out.min_p = in.min_p;
  out.repetition = in.repetition_penalty;
  out.presence = in.presence_penalty;
  out.frequency = in.frequency_penalty;
  out.max_tokens = static_cast<uint64_t>(request.stopping.max_tokens.value_or(0));
  out.num_choices = static_cast<uint64_t>(request.n);
  out.seed = in.seed;
  out.rng = "philox4x32-10/1";
  if (record.level != AuditLevel::kNone && !request.stopping.stop.empty()) {
    std::string stops;
    for (const std::string& stop : request.stopping.stop) {
      stops += stop;
      stops.push_back('\0');
    }
    out.stop = CommitTo(record.salt, stops);
  }
  if (record.level != AuditLevel::kNone && !in.logit_bias.empty()) {
    std::string biases;
    for (const auto& [token, bias] : in.logit_bias) {
      biases += absl::StrFormat("%d=%s;", token, ShortestDecimal(bias));
    }
    out.logit_bias = CommitTo(record.salt, biases);
  }
  return out;
}

// What answers; both leaves of a call say so.
ModelFacts ModelFactsOf(const ResidentModel& model) {
  ModelFacts facts{
      .ref = model.name, .digest = model.digest, .ver = model.version, .quant = model.quantization};
  if (model.tokenizer != nullptr) {
    facts.tok = model.tokenizer_digest;
  }
  if (model.chat_template != nullptr) {
    facts.tmpl = model.template_digest;
  }
  facts.num = "sha256:" + model.numerics_id.Hex();
  facts.fp = model.fingerprint;
  return facts;
}

// Each choice's number of tokens, then the tokens, all as 4 bytes.
std::string IdBytes(const std::vector<AnsweredChoice>& choices) {
  std::string bytes;
  for (const AnsweredChoice& choice : choices) {
    const auto count = static_cast<TokenId>(choice.tokens.size());
    bytes += IdBytes(std::span(&count, 1)) + IdBytes(choice.tokens);
  }
  return bytes;
}

// What is reserved; without quotas, the upper bound.
QuotaFacts QuotaOf(const GenerationCall& call, const PreparedGeneration& prepared) {
  const QuotaReservation& reservation = call.governed.reservation;
  return reservation.open()
             ? ReservedFacts(reservation)
             : QuotaFacts{.dec = "exempt", .res = UpperBoundOf(prepared.facts, prepared.request)};
}

}  // namespace

AuditJoin::AuditJoin(AuditLog& log, Vault* vault, SecretKey subject_pepper, Options options)
    : log_(log),
      vault_(vault),
      subject_pepper_(std::move(subject_pepper)),
      options_(std::move(options)),
      tenants_(options_.tenants),
      thread_([this] { Run(); }) {}

AuditJoin::~AuditJoin() {
  {
    MutexLock lock(jobs_mutex_);
    stopping_ = true;
  }
  jobs_ready_.notify_one();
  thread_.join();
}

void AuditJoin::set_deliver(Deliver deliver) {
  MutexLock lock(deliver_mutex_);
  deliver_ = std::move(deliver);
}

AuditRule AuditJoin::RuleFor(const std::string& tenant) const {
  MutexLock lock(rules_mutex_);
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? options_.rule : found->second;
}

void AuditJoin::set_tenants(std::map<std::string, AuditRule> tenants) {
  MutexLock lock(rules_mutex_);
  tenants_.swap(tenants);
}

AdmittedLeaf AuditJoin::Prepare(GenerationCall& call,
                                const PreparedGeneration& prepared,
                                std::string_view end_user) const {
  const CallFacts& facts = prepared.facts;
  const TenantId& tenant = call.scope.caller().tenant;
  const AuditRule rule = RuleFor(tenant.value());
  CallRecord& record = call.record;
  record.on = true;
  record.mode = rule.mode;
  record.level = rule.level;
  record.subject = {.tenant = tenant.value(),
                    .subject = SubjectHash(subject_pepper_, tenant.value(), end_user)};
  record.salt = NewCommitmentSalt();
  record.model = ModelFactsOf(*facts.model);
  if (record.level == AuditLevel::kFull) {
    record.replay = std::make_shared<const v1::ReplayRecord>(MakeReplayRecord(prepared));
  }
  AdmittedLeaf leaf;
  LeafDraft& draft = leaf.draft;
  draft.type = LeafType::kInferenceAdmitted;
  draft.tenant = tenant;
  draft.rid = RequestId(call.scope.rid());
  draft.mode = record.mode;
  draft.level = record.level;
  draft.actor = call.scope.caller().actor;
  draft.subj = record.subject.subject;
  draft.src = call.scope.peer();
  draft.model = record.model;
  draft.model->engine = options_.build;
  draft.model->hw = options_.hardware;
  draft.model->det = "batch-invariant";
  draft.policy = call.governed.policy;
  draft.quota = QuotaOf(call, prepared);
  draft.sampling = SamplingOf(prepared.request, record);
  draft.route = RouteFacts{.kind = "local"};
  InputFacts& input = draft.input.emplace();
  input.size_bytes = prepared.prompt_content.size();
  input.num_tokens = static_cast<uint64_t>(facts.prompt_tokens);
  input.parts = prepared.prompt_parts;
  if (record.level != AuditLevel::kNone) {
    input.content = CommitTo(record.salt, prepared.prompt_content);
    input.token_ids = CommitTo(record.salt, IdBytes(*prepared.request.prompt));
    input.request_id = CommitTo(record.salt, call.scope.request_id());
  }
  if (record.level == AuditLevel::kFull) {
    leaf.content = prepared.prompt_content;
  }
  return leaf;
}

void AuditJoin::Admit(const CallPtr& call, AdmittedLeaf leaf) {
  if (call->record.level == AuditLevel::kFull) {
    const auto put = vault_->Store({.rid = leaf.draft.rid.value(),
                                    .subject = call->record.subject,
                                    .origin = log_.origin(),
                                    .direction = VaultDirection::kInput,
                                    .salt = call->record.salt,
                                    .payload = leaf.content});
    if (!put.ok()) {
      Answer(call, AuditStage::kAdmitted, put.status());
      return;
    }
    leaf.draft.detail["vault"] = put->handle;
  }
  log_.Append(std::move(leaf.draft), Answer(call, AuditStage::kAdmitted));
}

AppendCallback AuditJoin::Answer(const CallPtr& call, AuditStage stage) {
  return [this, call, stage](StatusOr<AuditReceipt> result) {
    Answer(call, stage, std::move(result));
  };
}

void AuditJoin::Answer(const CallPtr& call, AuditStage stage, StatusOr<AuditReceipt> result) {
  if (result.ok() && result->origin.empty()) {
    // Best effort: the gate has counted it as missing.
    result = ErrorF(StatusCode::kUnavailable, "the audit log took no leaf");
  }
  MutexLock lock(deliver_mutex_);
  if (deliver_) {
    deliver_(call, stage, std::move(result));
  }
}

LeafDraft AuditJoin::EndDraft(const GenerationCall& call, const CallOutcome& outcome) const {
  const CallRecord& record = call.record;
  LeafDraft draft;
  draft.type = LeafType::kInferenceCompleted;
  draft.tenant = TenantId(record.subject.tenant);
  draft.rid = RequestId(call.scope.rid());
  draft.mode = record.mode;
  draft.level = record.level;
  draft.actor = call.scope.caller().actor;
  draft.subj = record.subject.subject;
  draft.model = record.model;
  draft.admitted = outcome.admitted;
  OutcomeFacts& out = draft.outcome.emplace();
  out.size_bytes = outcome.content.size();
  out.num_tokens = outcome.output_tokens;
  if (record.level != AuditLevel::kNone) {
    out.content = CommitTo(record.salt, outcome.content);
    out.token_ids = CommitTo(record.salt, IdBytes(outcome.choices));
  }
  out.finish = outcome.finish;
  out.status = absl::StatusCodeToString(outcome.status.code());
  out.err = outcome.status.ok() ? "" : std::string(Name(ReasonOf(outcome.status)));
  out.use = {
      .in = outcome.prompt_tokens, .cached = outcome.cached_tokens, .out = outcome.output_tokens};
  out.settle = call.governed.settled.value_or(
      QuotaAmounts{.in = outcome.prompt_tokens, .out = outcome.output_tokens});
  out.queue_us = Micros(outcome.queue);
  out.ttft_us = Micros(outcome.first_token);
  out.total_us = Micros(outcome.total);
  return draft;
}

void AuditJoin::End(const CallPtr& call, CallOutcome outcome) {
  LeafDraft draft = EndDraft(*call, outcome);
  if (call->record.level != AuditLevel::kFull) {
    log_.Append(std::move(draft), Answer(call, AuditStage::kEnded));
    return;
  }
  {
    MutexLock lock(jobs_mutex_);
    jobs_.push_back([this, call, draft = std::move(draft), outcome = std::move(outcome)] {
      AppendEnd(call, draft, outcome);
    });
  }
  jobs_ready_.notify_one();
}

Status AuditJoin::StoreEnd(const GenerationCall& call,
                           const CallOutcome& outcome,
                           OutcomeFacts& facts) {
  const auto store = [&](VaultDirection direction, std::string_view payload) {
    return vault_->Store({.rid = call.scope.rid(),
                          .subject = call.record.subject,
                          .origin = log_.origin(),
                          .direction = direction,
                          .salt = call.record.salt,
                          .payload = payload});
  };
  ASSIGN_OR_RETURN(const Vault::Put answer, store(VaultDirection::kOutput, outcome.content));
  const std::string record = FinishReplayRecord(*call.record.replay, outcome.choices);
  ASSIGN_OR_RETURN(const Vault::Put replay, store(VaultDirection::kReplay, record));
  facts.vault = answer.handle;
  facts.replay = replay.handle;
  facts.replay_c = replay.commitment;
  return OkStatus();
}

void AuditJoin::AppendEnd(const CallPtr& call, LeafDraft draft, const CallOutcome& outcome) {
  const Status stored = StoreEnd(*call, outcome, *draft.outcome);
  if (!stored.ok()) {
    // The leaf says what is known; the caller gets no answer that is not kept.
    draft.outcome->status = absl::StatusCodeToString(StatusCode::kAborted);
    draft.outcome->err = Name(Reason::kAuditUnavailable);
    log_.Append(std::move(draft),
                [this, call, stored](const auto&) { Answer(call, AuditStage::kEnded, stored); });
    return;
  }
  log_.Append(std::move(draft), Answer(call, AuditStage::kEnded));
}

void AuditJoin::Run() {
  for (;;) {
    std::function<void()> job;
    {
      MutexLock lock(jobs_mutex_);
      jobs_ready_.wait(lock.std_lock(),
                       [this]() NO_THREAD_SAFETY_ANALYSIS { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) {
        return;
      }
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

void AuditJoin::Deny(const GenerationCall& call, const Status& status) {
  if (!call.scope.admission().ok()) {
    return;  // the gate has recorded it
  }
  const TenantId& tenant = call.scope.caller().tenant;
  LeafDraft draft;
  draft.type = LeafType::kInferenceDenied;
  draft.tenant = tenant;
  draft.rid = RequestId(call.scope.rid());
  draft.mode = RuleFor(tenant.value()).mode;
  draft.actor = call.scope.caller().actor;
  draft.src = call.scope.peer();
  if (!call.scope.model().empty()) {
    draft.model = ModelFacts{.ref = call.scope.model()};
  }
  draft.outcome = OutcomeFacts{.status = absl::StatusCodeToString(status.code()),
                               .err = std::string(Name(ReasonOf(status)))};
  draft.policy = call.governed.policy;
  draft.quota = call.governed.quota_denied;
  log_.Append(std::move(draft), [](const auto&) {});
}

void AuditJoin::Refused(const CallScope& scope,
                        const Caller* caller,
                        const Status& why,
                        const PolicyFacts* policy) {
  const bool of_tenant = caller != nullptr && !caller->tenant.value().empty();
  LeafDraft draft;
  draft.type = caller == nullptr ? LeafType::kAuthnFailed
               : of_tenant       ? LeafType::kInferenceDenied
                                 : LeafType::kAdminAction;
  draft.tenant = of_tenant ? caller->tenant : TenantId(std::string(kLogTenant));
  draft.rid = RequestId(scope.rid());
  draft.mode = of_tenant ? RuleFor(caller->tenant.value()).mode : AuditMode::kStrict;
  if (caller != nullptr) {
    draft.actor = caller->actor;
  }
  draft.src = scope.peer();
  draft.outcome = OutcomeFacts{.status = absl::StatusCodeToString(why.code()),
                               .err = std::string(Name(ReasonOf(why)))};
  if (policy != nullptr) {
    draft.policy = *policy;
  }
  draft.detail["method"] = std::string(scope.method());
  log_.Append(std::move(draft), [](const auto&) {});
}

}  // namespace inferd
