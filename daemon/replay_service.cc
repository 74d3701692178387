#include "daemon/replay_service.h"

#include <absl/strings/ascii.h>
#include <grpcpp/server_context.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "daemon/admin_call.h"
#include "daemon/admin_payload.h"
#include "daemon/replay_record.h"
#include "inferd/v1/replay.grpc.pb.h"

namespace inferd {
namespace {

using Json = nlohmann::json;

// "MATCH": "match", as leaves have it.
std::string ResultText(v1::ReplayResult result) {
  constexpr size_t kPrefix = sizeof("REPLAY_RESULT_") - 1;
  return absl::AsciiStrToLower(v1::ReplayResult_Name(result).substr(kPrefix));
}

std::string TextIn(const Json& leaf, const char* key) {
  const auto found = leaf.is_object() ? leaf.find(key) : leaf.end();
  return leaf.is_object() && found != leaf.end() && found->is_string() ? found->get<std::string>()
                                                                       : "";
}

void Conclude(v1::ReplayResult result, std::string reason, v1::ReplayResponse& response) {
  response.set_result(result);
  response.set_reason(std::move(reason));
}

void FillComparison(const ReplayComparison& found,
                    const v1::ReplayRecord& record,
                    v1::ReplayResponse& response) {
  response.set_choices(record.choices_size());
  response.set_tokens(found.tokens);
  if (found.first_diff.has_value()) {
    response.set_first_diff_choice(found.first_diff->choice);
    response.set_first_diff_token(found.first_diff->token);
  }
  Conclude(found.result,
           found.result == v1::REPLAY_RESULT_DIFFERS
               ? "the same request gave other tokens; keep the log and the build, and report it"
           : found.result == v1::REPLAY_RESULT_PREFIX_MATCH
               ? "the request was ended from outside; what it had by then is the same"
               : "",
           response);
}

class Service final : public v1::ReplayService::Service {
 public:
  explicit Service(const ReplayServiceParts& parts) : parts_(parts) {}

  grpc::Status Replay(grpc::ServerContext* context,
                      const v1::ReplayRequest* request,
                      v1::ReplayResponse* response) override {
    return AdminCall(parts_.gate, "ReplayService/Replay", *context, [&](const Caller& caller) {
      return Run(caller, *request, [context] { return context->IsCancelled(); }, *response);
    });
  }

 private:
  Status Run(const Caller& caller,
             const v1::ReplayRequest& request,
             const std::function<bool()>& cancelled,
             v1::ReplayResponse& response) {
    ASSIGN_OR_RETURN(const PayloadView view,
                     parts_.audit.payloads().Find(caller.actor, request.view_id()));
    response.set_tenant(view.tenant);
    response.set_rid(request.rid());
    ASSIGN_OR_RETURN(const auto leaves, LeavesOf(parts_.audit, view.tenant, request.rid()));
    const auto completed = std::find_if(leaves.begin(), leaves.end(), [](const RequestLeaf& leaf) {
      const Json json = Json::parse(leaf.leaf, nullptr, /*allow_exceptions=*/false);
      return TextIn(json, "t") == Name(LeafType::kInferenceCompleted);
    });
    if (completed == leaves.end()) {
      Conclude(v1::REPLAY_RESULT_NOT_KEPT,
               leaves.empty()
                   ? "the log has no request of that tenant and rid"
                   : "the request has no answer: it was refused, is in work, or was lost",
               response);
      return OkStatus();
    }
    const Json leaf = Json::parse(completed->leaf, nullptr, /*allow_exceptions=*/false);
    if (TextIn(leaf, "replay").empty()) {
      Conclude(v1::REPLAY_RESULT_NOT_KEPT,
               absl::StrFormat("nothing was kept: the level was %s; set audit.level to full",
                               TextIn(leaf, "alev")),
               response);
      return OkStatus();
    }
    ASSIGN_OR_RETURN(const auto bytes,
                     parts_.audit.payloads().OpenReplay(caller.actor, view.id, *completed));
    if (!bytes.has_value()) {
      Conclude(v1::REPLAY_RESULT_ERASED,
               "what was kept was erased, or purged at the end of its time",
               response);
      return OkStatus();
    }
    ASSIGN_OR_RETURN(const v1::ReplayRecord record, ParseReplayRecord(*bytes));
    response.mutable_model()->set_name(record.model_name());
    response.mutable_model()->set_digest(record.model_digest());
    response.set_numerics_id(record.numerics_id());
    RETURN_IF_ERROR(RunRecord(record, caller, cancelled, response));
    return WriteLeaf(view, caller, record, response);
  }

  Status RunRecord(const v1::ReplayRecord& record,
                   const Caller& caller,
                   const std::function<bool()>& cancelled,
                   v1::ReplayResponse& response) {
    const std::vector<ModelDirectory::Entry> entries = parts_.models.List();
    const auto found = std::find_if(entries.begin(), entries.end(), [&](const auto& entry) {
      return entry.ready() && DigestText(entry.model->digest) == record.model_digest();
    });
    if (found == entries.end()) {
      Conclude(v1::REPLAY_RESULT_NOT_RESIDENT,
               absl::StrFormat("no model %s is loaded; load that version of %s",
                               record.model_digest(),
                               record.model_name()),
               response);
      return OkStatus();
    }
    const std::string numerics_id = DigestText(found->model->numerics_id);
    if (numerics_id != record.numerics_id()) {
      Conclude(v1::REPLAY_RESULT_OTHER_NUMERICS,
               absl::StrFormat("the model computes as %s here; replay on the build and the kind of "
                               "device that answered",
                               numerics_id),
               response);
      return OkStatus();
    }
    const int64_t room =
        std::min(found->model->config.context_tokens_max, found->model->kv_tokens_max);
    if (const int64_t needed = TokensOf(record); needed > room) {
      Conclude(
          v1::REPLAY_RESULT_NOT_RESIDENT,
          absl::StrFormat("prompt and answer have %d tokens, and the model is loaded with room "
                          "for %d; load it with more",
                          needed,
                          room),
          response);
      return OkStatus();
    }
    ASSIGN_OR_RETURN(PreparedGeneration prepared, PrepareReplay(record, found->model));
    ASSIGN_OR_RETURN(const auto again, parts_.runner.Run(std::move(prepared), caller, cancelled));
    FillComparison(CompareReplay(record, again), record, response);
    return OkStatus();
  }

  // What a replay found is in the log before anybody hears of it.
  Status WriteLeaf(const PayloadView& view,
                   const Caller& caller,
                   const v1::ReplayRecord& record,
                   v1::ReplayResponse& response) {
    LeafDraft draft;
    draft.type = LeafType::kReplayPerformed;
    draft.tenant = TenantId(view.tenant);
    draft.rid = RequestId(response.rid());
    draft.actor = caller.actor;
    ModelFacts& model = draft.model.emplace();
    model.ref = record.model_name();
    model.num = record.numerics_id();
    draft.detail = {{"view", view.id},
                    {"approved_by", view.approved_by},
                    {"result", ResultText(response.result())},
                    {"match",
                     uint64_t{response.result() == v1::REPLAY_RESULT_MATCH ||
                              response.result() == v1::REPLAY_RESULT_PREFIX_MATCH}},
                    {"tokens", response.tokens()},
                    {"model_digest", record.model_digest()}};
    if (response.has_first_diff_choice()) {
      draft.detail["first_diff"] =
          absl::StrFormat("%d:%d", response.first_diff_choice(), response.first_diff_token());
    }
    ASSIGN_OR_RETURN(const AuditReceipt receipt,
                     parts_.audit.log().AppendAndWait(std::move(draft)));
    v1::AuditReceipt& out = *response.mutable_audit();
    out.set_origin(receipt.origin);
    out.set_index(receipt.index);
    out.set_leaf_hash(DigestText(receipt.leaf_hash));
    out.set_record_id(response.rid());
    return OkStatus();
  }

  const ReplayServiceParts parts_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeReplayService(const ReplayServiceParts& parts) {
  return std::make_unique<Service>(parts);
}

}  // namespace inferd
