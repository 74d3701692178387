#include "client/audit_retention.h"

#include <nlohmann/json.hpp>
#include <ostream>
#include <vector>

#include "client/table.h"

namespace inferd {
namespace {

using Json = nlohmann::ordered_json;
using Stub = v1::AuditService::Stub;

class Commands {
 public:
  Commands(const CommonOptions& common,
           const AuditCommand& command,
           AuditClient& client,
           Terminal& terminal)
      : common_(common), command_(command), client_(client), terminal_(terminal) {}

  StatusOr<ExitCode> Run() { return command_.noun == "erase" ? RunErase() : RunHold(); }

 private:
  bool json() const { return common_.output == OutputFormat::kJson; }

  StatusOr<ExitCode> Print(const Json& json) {
    terminal_.out << json.dump(2) << '\n';
    return ExitCode::kOk;
  }

  static Json ToJson(const v1::Erasure& erasure) {
    return {{"id", erasure.id()},
            {"tenant", erasure.tenant()},
            {"subject", erasure.subject()},
            {"basis", erasure.basis()},
            {"state", erasure.state()},
            {"requested_by", erasure.requested_by()},
            {"requested_at", erasure.requested_at()},
            {"approved_by", erasure.approved_by()},
            {"key_id", erasure.key_id()},
            {"epoch", erasure.epoch()},
            {"num_records", erasure.num_records()},
            {"refusal", erasure.refusal()}};
  }
  static Json ToJson(const v1::Hold& hold) {
    return {{"id", hold.id()},
            {"tenant", hold.tenant()},
            {"subject", hold.subject()},
            {"from", hold.from()},
            {"to", hold.to()},
            {"rids", std::vector<std::string>(hold.rids().begin(), hold.rids().end())},
            {"basis", hold.basis()},
            {"set_by", hold.set_by()},
            {"set_at", hold.set_at()},
            {"release_asked_by", hold.release_asked_by()},
            {"released", hold.released()}};
  }

  template <typename List>
  StatusOr<ExitCode> PrintErasures(const List& erasures) {
    if (json()) {
      Json list = Json::array();
      for (const v1::Erasure& erasure : erasures) {
        list.push_back(ToJson(erasure));
      }
      return Print({{"erasures", std::move(list)}});
    }
    Table table({{"ID"},
                 {"TENANT"},
                 {"BASIS"},
                 {"STATE"},
                 {"ASKED BY"},
                 {"APPROVED BY"},
                 {"RECORDS", Table::Align::kRight}});
    for (const v1::Erasure& erasure : erasures) {
      table.AddRow({erasure.id(),
                    erasure.tenant(),
                    erasure.basis(),
                    erasure.state(),
                    erasure.requested_by(),
                    erasure.approved_by(),
                    std::to_string(erasure.num_records())});
    }
    table.Print(terminal_.out, common_.headers);
    return ExitCode::kOk;
  }

  StatusOr<ExitCode> RunErase() {
    if (command_.verb == "status") {
      ASSIGN_OR_RETURN(const auto list,
                       client_.Call(&Stub::ListErasures, v1::ListErasuresRequest()));
      return PrintErasures(list.erasures());
    }
    v1::Erasure erasure;
    if (command_.verb == "request") {
      v1::RequestErasureRequest request;
      request.set_tenant(command_.tenant);
      request.set_end_user(command_.end_user);
      request.set_basis(command_.basis);
      ASSIGN_OR_RETURN(const auto done, client_.Call(&Stub::RequestErasure, request));
      erasure = done.erasure();
    } else {
      v1::ApproveErasureRequest request;
      request.set_id(command_.id);
      ASSIGN_OR_RETURN(const auto done, client_.Call(&Stub::ApproveErasure, request));
      erasure = done.erasure();
    }
    RETURN_IF_ERROR(PrintErasures(std::vector<v1::Erasure>{erasure}));
    if (!erasure.refusal().empty()) {
      return ErrorF(StatusCode::kFailedPrecondition, "refused: %s", erasure.refusal());
    }
    return ExitCode::kOk;
  }

  template <typename List>
  StatusOr<ExitCode> PrintHolds(const List& holds) {
    if (json()) {
      Json list = Json::array();
      for (const v1::Hold& hold : holds) {
        list.push_back(ToJson(hold));
      }
      return Print({{"holds", std::move(list)}});
    }
    Table table({{"ID"}, {"TENANT"}, {"BASIS"}, {"SET BY"}, {"STATE"}});
    for (const v1::Hold& hold : holds) {
      table.AddRow({hold.id(),
                    hold.tenant(),
                    hold.basis(),
                    hold.set_by(),
                    hold.released()                   ? "released"
                    : hold.release_asked_by().empty() ? "holds"
                                                      : "holds; release asked"});
    }
    table.Print(terminal_.out, common_.headers);
    return ExitCode::kOk;
  }

  StatusOr<ExitCode> RunHold() {
    if (command_.verb == "list") {
      ASSIGN_OR_RETURN(const auto list, client_.Call(&Stub::ListHolds, v1::ListHoldsRequest()));
      return PrintHolds(list.holds());
    }
    if (command_.verb == "release") {
      v1::ReleaseHoldRequest request;
      request.set_id(command_.id);
      ASSIGN_OR_RETURN(const auto done, client_.Call(&Stub::ReleaseHold, request));
      return PrintHolds(std::vector<v1::Hold>{done.hold()});
    }
    v1::SetHoldRequest request;
    request.set_tenant(command_.tenant);
    request.set_end_user(command_.end_user);
    request.set_from(command_.from);
    request.set_to(command_.to);
    request.mutable_rids()->Add(command_.rids.begin(), command_.rids.end());
    request.set_basis(command_.basis);
    ASSIGN_OR_RETURN(const auto done, client_.Call(&Stub::SetHold, request));
    return PrintHolds(std::vector<v1::Hold>{done.hold()});
  }

  const CommonOptions& common_;
  const AuditCommand& command_;
  AuditClient& client_;
  Terminal& terminal_;
};

}  // namespace

StatusOr<ExitCode> RunRetention(const CommonOptions& common,
                                const AuditCommand& command,
                                AuditClient& client,
                                Terminal& terminal) {
  return Commands(common, command, client, terminal).Run();
}

}  // namespace inferd
