#include "client/audit_payload.h"

#include <nlohmann/json.hpp>
#include <ostream>
#include <vector>

#include "base/utf8.h"
#include "client/audit_text.h"
#include "client/table.h"
#include "governance/verify/base64.h"

namespace inferd {
namespace {

using Json = nlohmann::ordered_json;
using Stub = v1::AuditService::Stub;

Json ToJson(const v1::PayloadView& view) {
  Json json = {{"id", view.id()},
               {"tenant", view.tenant()},
               {"rid", view.rid()},
               {"basis", view.basis()},
               {"requested_by", view.requested_by()},
               {"requested_at", view.requested_at()},
               {"approved_by", view.approved_by()},
               {"open_until", view.open_until()},
               {"num_views", view.num_views()}};
  if (view.rid().empty()) {
    json["from"] = view.from();
    json["to"] = view.to();
  }
  return json;
}

// Text under "text"; what is none, such as token ids, in base64 under "bytes".
Json ContentJson(const std::string& content) {
  return IsValidUtf8(content) ? Json{{"text", content}} : Json{{"bytes", EncodeBase64(content)}};
}

std::string ContentText(const std::string& content, const Terminal& terminal) {
  return IsValidUtf8(content) ? Printable(content, terminal)
                              : "(bytes, in base64) " + EncodeBase64(content);
}

class Commands {
 public:
  Commands(const CommonOptions& common,
           const AuditCommand& command,
           AuditClient& client,
           Terminal& terminal)
      : common_(common), command_(command), client_(client), terminal_(terminal) {}

  StatusOr<ExitCode> Run() {
    if (command_.verb == "open") {
      return Open();
    }
    if (command_.verb == "list") {
      ASSIGN_OR_RETURN(const auto list,
                       client_.Call(&Stub::ListPayloads, v1::ListPayloadsRequest()));
      return PrintViews({list.views().begin(), list.views().end()});
    }
    if (command_.verb == "approve") {
      v1::ApprovePayloadRequest request;
      request.set_id(command_.id);
      ASSIGN_OR_RETURN(const auto done, client_.Call(&Stub::ApprovePayload, request));
      return PrintViews({done.view()});
    }
    v1::RequestPayloadRequest request;
    request.set_tenant(command_.tenant);
    request.set_rid(command_.rid);
    request.set_basis(command_.basis);
    request.set_from(command_.from);
    request.set_to(command_.to);
    ASSIGN_OR_RETURN(const auto done, client_.Call(&Stub::RequestPayload, request));
    return PrintViews({done.view()});
  }

 private:
  bool json() const { return common_.output == OutputFormat::kJson; }

  StatusOr<ExitCode> PrintViews(const std::vector<v1::PayloadView>& views) {
    Json list = Json::array();
    Table table({{"ID"},
                 {"TENANT"},
                 {"RID"},
                 {"BASIS"},
                 {"ASKED BY"},
                 {"APPROVED BY"},
                 {"OPEN UNTIL"},
                 {"VIEWS", Table::Align::kRight}});
    for (const v1::PayloadView& view : views) {
      list.push_back(ToJson(view));
      table.AddRow({view.id(),
                    view.tenant(),
                    view.rid().empty() ? view.from() + " to " + view.to() : view.rid(),
                    view.basis(),
                    view.requested_by(),
                    view.approved_by(),
                    view.open_until(),
                    std::to_string(view.num_views())});
    }
    if (json()) {
      terminal_.out << Json{{"views", std::move(list)}}.dump(2) << '\n';
    } else {
      table.Print(terminal_.out, common_.headers);
    }
    return ExitCode::kOk;
  }

  StatusOr<ExitCode> Open() {
    v1::OpenPayloadRequest request;
    request.set_id(command_.id);
    ASSIGN_OR_RETURN(const auto opened, client_.Call(&Stub::OpenPayload, request));
    const v1::PayloadView& view = opened.view();
    if (json()) {
      Json answers = Json::array();
      for (const std::string& answer : opened.answers()) {
        answers.push_back(ContentJson(answer));
      }
      Json json = {{"view", ToJson(view)}, {"shown_at", UtcNow()}};
      if (opened.has_prompt()) {
        json["prompt"] = ContentJson(opened.prompt());
      }
      json["answers"] = std::move(answers);
      terminal_.out << json.dump(2) << '\n';
      return ExitCode::kOk;
    }
    // Whoever passes this on passes on who it was shown to.
    terminal_.out << absl::StrFormat(
        "-- request %s of tenant %s, shown to %s at %s (view %s, look "
        "%d, approved by %s) --\n",
        view.rid(),
        view.tenant(),
        view.requested_by(),
        UtcNow(),
        view.id(),
        view.num_views(),
        view.approved_by());
    if (opened.has_prompt()) {
      terminal_.out << "-- prompt --\n" << ContentText(opened.prompt(), terminal_) << '\n';
    }
    for (const std::string& answer : opened.answers()) {
      terminal_.out << "-- answer --\n" << ContentText(answer, terminal_) << '\n';
    }
    return ExitCode::kOk;
  }

  const CommonOptions& common_;
  const AuditCommand& command_;
  AuditClient& client_;
  Terminal& terminal_;
};

}  // namespace

StatusOr<ExitCode> RunPayload(const CommonOptions& common,
                              const AuditCommand& command,
                              AuditClient& client,
                              Terminal& terminal) {
  return Commands(common, command, client, terminal).Run();
}

}  // namespace inferd
