#include <nlohmann/json.hpp>
#include <ostream>

#include "base/file.h"
#include "client/admin_call.h"
#include "client/commands.h"
#include "client/quota_command_line.h"
#include "client/table.h"
#include "inferd/v1/usage.grpc.pb.h"

namespace inferd {
namespace {

using Json = nlohmann::ordered_json;
using Align = Table::Align;

// The first usage of a process reads the whole log.
constexpr Duration kTimeout = std::chrono::minutes(5);
constexpr uint64_t kLimitsBytesMax = 1 << 20;

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + static_cast<double>(duration.nanos()) / 1e9;
}

std::string OrAll(const std::string& name) { return name.empty() ? "*" : name; }

Json ToJson(const v1::Account& account) {
  Json json = {{"org", account.org()}};
  const auto add = [&json](const char* name, const std::string& value) {
    if (!value.empty()) {
      json[name] = value;
    }
  };
  add("tenant", account.tenant());
  add("project", account.project());
  add("key", account.key());
  add("model", account.model());
  return json;
}

Json ToJson(const v1::QuotaState& state) {
  Json json = {{"id", state.id()},
               {"scope", ToJson(state.scope())},
               {"metric", state.metric()},
               {"mode", state.mode()},
               {"limit", state.limit()},
               {"burst", state.burst()},
               {"used", state.used()},
               {"remaining", state.remaining()}};
  if (state.has_reset()) {
    json["reset_s"] = Seconds(state.reset());
  }
  return json;
}

std::string ScopeText(const v1::Account& scope) {
  std::string text = scope.org();
  for (const std::string* name :
       {&scope.tenant(), &scope.project(), &scope.key(), &scope.model()}) {
    text += "/" + OrAll(*name);
  }
  return text;
}

// A name as one cell of a comma-separated file (RFC 4180); a text that begins like a formula is no
// formula.
std::string CsvCell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos && text.find_first_of("=+-@") != 0) {
    return text;
  }
  std::string quoted = "\"";
  if (text.find_first_of("=+-@") == 0) {
    quoted += '\'';
  }
  for (const char c : text) {
    quoted += c == '"' ? "\"\"" : std::string(1, c);
  }
  return quoted + '"';
}

// One call after the other, over one connection.
class QuotaRun {
 public:
  QuotaRun(const CommonOptions& common, const QuotaCommand& command, Terminal& terminal)
      : common_(common),
        command_(command),
        terminal_(terminal),
        stub_(v1::QuotaAdminService::NewStub(AdminChannel(command.admin))) {}

  Status Usage() {
    v1::QueryUsageRequest request;
    request.set_from(command_.from);
    request.set_to(command_.to);
    FillAccount(*request.mutable_account());
    v1::QueryUsageResponse response;
    RETURN_IF_ERROR(Call(&v1::QuotaAdminService::Stub::QueryUsage, request, response));
    if (command_.csv) {
      PrintCsv(response);
    } else if (json()) {
      Json rows = Json::array();
      for (const v1::UsageRow& row : response.rows()) {
        rows.push_back({{"day", row.day()},
                        {"account", ToJson(row.account())},
                        {"requests", row.requests()},
                        {"open", row.open()},
                        {"input_tokens", row.input_tokens()},
                        {"output_tokens", row.output_tokens()}});
      }
      Print({{"rows", rows}});
    } else {
      PrintTable(response);
    }
    return OkStatus();
  }

  Status Show() {
    v1::ShowQuotasRequest request;
    FillAccount(*request.mutable_account());
    v1::ShowQuotasResponse response;
    RETURN_IF_ERROR(Call(&v1::QuotaAdminService::Stub::ShowQuotas, request, response));
    if (json()) {
      Json limits = Json::array();
      for (const v1::QuotaState& state : response.limits()) {
        limits.push_back(ToJson(state));
      }
      Print({{"limits", limits}});
      return OkStatus();
    }
    Table table({{.title = "ID"},
                 {.title = "SCOPE"},
                 {.title = "METRIC"},
                 {.title = "MODE"},
                 {.title = "LIMIT", .align = Align::kRight},
                 {.title = "REMAINING", .align = Align::kRight},
                 {.title = "RESET"}});
    for (const v1::QuotaState& state : response.limits()) {
      table.AddRow({state.id(),
                    ScopeText(state.scope()),
                    state.metric(),
                    state.mode(),
                    std::to_string(state.limit()),
                    std::to_string(state.remaining()),
                    state.has_reset() ? absl::StrFormat("%.0fs", Seconds(state.reset())) : "-"});
    }
    table.Print(terminal_.out, common_.headers);
    return OkStatus();
  }

  Status Explain() {
    v1::ExplainQuotaRequest request;
    FillAccount(*request.mutable_account());
    request.set_input_tokens(command_.input_tokens);
    request.set_output_tokens(command_.output_tokens);
    v1::ExplainQuotaResponse response;
    RETURN_IF_ERROR(Call(&v1::QuotaAdminService::Stub::ExplainQuota, request, response));
    if (json()) {
      Json refusals = Json::array();
      for (const v1::QuotaRefusal& refusal : response.refusals()) {
        Json json = {{"limit", ToJson(refusal.limit())},
                     {"cost", refusal.cost()},
                     {"never", refusal.never()}};
        if (refusal.has_passes_in()) {
          json["passes_in_s"] = Seconds(refusal.passes_in());
        }
        refusals.push_back(std::move(json));
      }
      Json json = {{"passes", response.passes()}, {"refusals", refusals}};
      if (response.has_passes_in()) {
        json["passes_in_s"] = Seconds(response.passes_in());
      }
      Print(json);
      return OkStatus();
    }
    terminal_.out << (response.passes() ? "It would pass.\n" : "It would be refused.\n");
    for (const v1::QuotaRefusal& refusal : response.refusals()) {
      const v1::QuotaState& limit = refusal.limit();
      terminal_.out << absl::StrFormat("%s (%s, %s): it needs %d of %d, %d are left",
                                       limit.id(),
                                       ScopeText(limit.scope()),
                                       limit.metric(),
                                       refusal.cost(),
                                       limit.limit(),
                                       limit.remaining());
      if (refusal.never()) {
        terminal_.out << "; it never passes";
      } else if (refusal.has_passes_in()) {
        terminal_.out << absl::StrFormat("; passes in %.1f s", Seconds(refusal.passes_in()));
      }
      terminal_.out << ".\n";
    }
    return OkStatus();
  }

  Status Simulate() {
    v1::SimulateQuotasRequest request;
    ASSIGN_OR_RETURN(*request.mutable_limits(), ReadFile(command_.file, kLimitsBytesMax));
    request.set_name(command_.file);
    request.set_from(command_.from);
    request.set_to(command_.to);
    v1::SimulateQuotasResponse response;
    RETURN_IF_ERROR(Call(&v1::QuotaAdminService::Stub::SimulateQuotas, request, response));
    if (json()) {
      Json breaches = Json::array();
      for (const v1::SimulatedBreach& breach : response.breaches()) {
        breaches.push_back({{"limit", breach.limit()},
                            {"tenant", breach.tenant()},
                            {"refused", breach.refused()},
                            {"refused_tokens", breach.refused_tokens()},
                            {"noticed", breach.noticed()}});
      }
      Print({{"requests", response.requests()},
             {"refused", response.refused()},
             {"skipped", response.skipped()},
             {"breaches", breaches}});
      return OkStatus();
    }
    Table table({{.title = "LIMIT"},
                 {.title = "TENANT"},
                 {.title = "REFUSED", .align = Align::kRight},
                 {.title = "TOKENS", .align = Align::kRight},
                 {.title = "NOTICED", .align = Align::kRight}});
    for (const v1::SimulatedBreach& breach : response.breaches()) {
      table.AddRow({breach.limit(),
                    breach.tenant(),
                    std::to_string(breach.refused()),
                    std::to_string(breach.refused_tokens()),
                    std::to_string(breach.noticed())});
    }
    table.Print(terminal_.out, common_.headers);
    terminal_.out << response.requests() << " requests, " << response.refused()
                  << " would have been refused\n";
    if (response.skipped() > 0) {
      terminal_.err << "error: " << response.skipped()
                    << " requests more were open at a time than can be simulated\n";
    }
    return OkStatus();
  }

  Status Set() {
    v1::SetQuotaRequest request;
    request.set_id(command_.id);
    FillAccount(*request.mutable_scope());
    request.set_metric(command_.metric);
    request.set_limit(command_.limit);
    request.set_burst(command_.burst);
    request.set_mode(command_.mode);
    if (command_.raised_for_s > 0) {
      request.mutable_raised_for()->set_seconds(command_.raised_for_s);
      request.set_raised_limit(command_.raised_limit);
      request.set_raised_burst(command_.raised_burst);
    }
    v1::SetQuotaResponse response;
    return Call(&v1::QuotaAdminService::Stub::SetQuota, request, response);
  }

  Status Remove() {
    v1::RemoveQuotaRequest request;
    request.set_id(command_.id);
    v1::RemoveQuotaResponse response;
    return Call(&v1::QuotaAdminService::Stub::RemoveQuota, request, response);
  }

 private:
  template <typename Method, typename Request, typename Response>
  Status Call(Method method, const Request& request, Response& response) {
    return CallAdmin(*stub_, method, common_.timeout.value_or(kTimeout), request, response);
  }

  bool json() const { return command_.json || common_.output == OutputFormat::kJson; }
  void Print(const Json& json) {
    terminal_.out << json.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  }

  void FillAccount(v1::Account& account) const {
    account.set_org(command_.org);
    account.set_tenant(command_.tenant);
    account.set_project(command_.project);
    account.set_key(command_.key);
    account.set_model(command_.model);
  }

  void PrintCsv(const v1::QueryUsageResponse& response) {
    terminal_.out << "day,org,tenant,project,key,model,"
                     "requests,open,input_tokens,output_tokens\r\n";
    for (const v1::UsageRow& row : response.rows()) {
      const v1::Account& account = row.account();
      terminal_.out << row.day();
      for (const std::string* name : {&account.org(),
                                      &account.tenant(),
                                      &account.project(),
                                      &account.key(),
                                      &account.model()}) {
        terminal_.out << ',' << CsvCell(*name);
      }
      for (const uint64_t count :
           {row.requests(), row.open(), row.input_tokens(), row.output_tokens()}) {
        terminal_.out << ',' << count;
      }
      terminal_.out << "\r\n";
    }
  }

  void PrintTable(const v1::QueryUsageResponse& response) {
    Table table({{.title = "DAY"},
                 {.title = "ORG"},
                 {.title = "TENANT"},
                 {.title = "PROJECT"},
                 {.title = "KEY"},
                 {.title = "MODEL"},
                 {.title = "REQUESTS", .align = Align::kRight},
                 {.title = "IN", .align = Align::kRight},
                 {.title = "OUT", .align = Align::kRight}});
    for (const v1::UsageRow& row : response.rows()) {
      const v1::Account& account = row.account();
      const auto text = [](const std::string& name) { return name.empty() ? "-" : name; };
      table.AddRow({row.day(),
                    account.org(),
                    text(account.tenant()),
                    text(account.project()),
                    text(account.key()),
                    text(account.model()),
                    std::to_string(row.requests()),
                    std::to_string(row.input_tokens()),
                    std::to_string(row.output_tokens())});
    }
    table.Print(terminal_.out, common_.headers);
  }

  const CommonOptions& common_;
  const QuotaCommand& command_;
  Terminal& terminal_;
  const std::unique_ptr<v1::QuotaAdminService::Stub> stub_;
};

}  // namespace

ExitCode RunQuota(const CommonOptions& common, const QuotaCommand& command, Terminal& terminal) {
  QuotaRun run(common, command, terminal);
  const Status status = command.verb == "usage"      ? run.Usage()
                        : command.verb == "show"     ? run.Show()
                        : command.verb == "explain"  ? run.Explain()
                        : command.verb == "simulate" ? run.Simulate()
                        : command.verb == "set"      ? run.Set()
                                                     : run.Remove();
  CommonOptions at_admin = common;
  at_admin.connection.endpoint = command.admin;
  return status.ok() ? ExitCode::kOk : FailCall(status, at_admin, terminal);
}

}  // namespace inferd
