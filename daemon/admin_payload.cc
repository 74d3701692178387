#include "daemon/admin_payload.h"

#include <vector>

#include "base/little_endian.h"
#include "governance/audit/canonical_json.h"
#include "governance/vault_text.h"
#include "inferd/v1/audit.pb.h"

namespace inferd {
namespace {

// The output of each choice after its size as 4 bytes, little-endian (audit_join.h).
Status SplitChoices(std::string_view output, v1::OpenPayloadResponse& response) {
  while (!output.empty()) {
    const size_t size = output.size() < 4 ? 0 : ReadLittleEndian<uint32_t>(output);
    if (output.size() < 4 || size > output.size() - 4) {
      return ErrorF(StatusCode::kDataLoss, "the answer that was kept ends too early");
    }
    response.add_answers(std::string(output.substr(4, size)));
    output.remove_prefix(4 + size);
  }
  return OkStatus();
}

}  // namespace

StatusOr<std::vector<RequestLeaf>> LeavesOf(AuditState& state,
                                            const std::string& tenant,
                                            const std::string& rid) {
  RETURN_IF_ERROR(state.CatchUp());
  IndexQuery query;
  query.tenant = tenant;
  query.rid = rid;
  query.type_prefix = "inference.";
  query.oldest_first = true;
  ASSIGN_OR_RETURN(const auto rows, state.index().Search(query));
  ASSIGN_OR_RETURN(const auto shards, state.Shards());
  std::vector<RequestLeaf> leaves;
  for (const IndexRow& row : rows) {
    for (const auto& shard : shards) {
      if (shard->origin() == row.origin) {
        ASSIGN_OR_RETURN(std::string leaf, shard->Read(row.index));
        leaves.push_back({.origin = row.origin, .leaf = std::move(leaf)});
      }
    }
  }
  return leaves;
}

void Fill(const PayloadView& view, v1::PayloadView& out) {
  out.set_id(view.id);
  out.set_tenant(view.tenant);
  out.set_rid(view.rid);
  out.set_basis(view.basis);
  out.set_requested_by(view.requested_by);
  out.set_requested_at(Rfc3339Micros(view.requested_at));
  out.set_approved_by(view.approved_by);
  if (!view.approved_by.empty()) {
    out.set_open_until(
        Rfc3339Micros(view.approved_at + (view.rid.empty() ? kReplayTime : kPayloadViewTime)));
  }
  out.set_num_views(view.num_views);
  if (view.rid.empty()) {
    out.set_from(Rfc3339Micros(view.from));
    out.set_to(Rfc3339Micros(view.to));
  }
}

StatusOr<PayloadView> RequestPayload(AuditState& state,
                                     const ActorFacts& actor,
                                     const v1::RequestPayloadRequest& request) {
  if (!request.rid().empty()) {
    return state.payloads().Request(actor, request.tenant(), request.rid(), request.basis());
  }
  ASSIGN_OR_RETURN(const WallTime from, ParseTime(request.from()));
  ASSIGN_OR_RETURN(const WallTime to, ParseTime(request.to()));
  return state.payloads().RequestReplays(actor, request.tenant(), from, to, request.basis());
}

Status OpenPayload(AuditState& state,
                   const ActorFacts& actor,
                   const std::string& id,
                   v1::OpenPayloadResponse& response) {
  ASSIGN_OR_RETURN(const PayloadView view, state.payloads().Find(actor, id));
  ASSIGN_OR_RETURN(const auto leaves, LeavesOf(state, view.tenant, view.rid));
  ASSIGN_OR_RETURN(const OpenedPayload opened, state.payloads().Look(actor, id, leaves));
  Fill(opened.view, *response.mutable_view());
  if (opened.input.has_value()) {
    response.set_prompt(*opened.input);
  }
  return opened.output.has_value() ? SplitChoices(*opened.output, response) : OkStatus();
}

void FillWitnesses(const AuditState& state, v1::ListWitnessesResponse& response) {
  for (const WitnessClient::State& witness : state.tasks().witnesses()) {
    v1::WitnessState& out = *response.add_witnesses();
    out.set_name(witness.name);
    out.set_verifier_key(witness.vkey);
    out.set_url(witness.url);
    out.set_origin(witness.origin);
    out.set_cosigned_size(witness.cosigned_size);
    out.set_log_size(witness.log_size);
    if (witness.cosigned_size > 0) {
      out.set_cosigned_at(Rfc3339Micros(witness.cosigned_at));
    }
    out.set_error(witness.error);
  }
}

}  // namespace inferd
