// What policy commands ask of a daemon: show, propose, approve, activate.
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/file.h"
#include "client/admin_call.h"
#include "client/commands.h"
#include "client/policy_command_line.h"
#include "client/table.h"
#include "inferd/v1/usage.grpc.pb.h"

namespace inferd {
namespace {

using Json = nlohmann::ordered_json;

constexpr Duration kTimeout = std::chrono::seconds(60);
constexpr uint64_t kFileBytesMax = uint64_t{1} << 20;

class PolicyAdminRun {
 public:
  PolicyAdminRun(const CommonOptions& common, const PolicyCommand& command, Terminal& terminal)
      : common_(common),
        command_(command),
        terminal_(terminal),
        stub_(v1::PolicyAdminService::NewStub(AdminChannel(command.admin))) {}

  Status Show() {
    if (!command_.set.empty()) {
      return ShowSet();
    }
    v1::GetPoliciesResponse response;
    RETURN_IF_ERROR(
        Call(&v1::PolicyAdminService::Stub::GetPolicies, v1::GetPoliciesRequest(), response));
    if (json()) {
      Json history = Json::array();
      for (const v1::PolicyStep& step : response.history()) {
        history.push_back({{"number", step.number()},
                           {"step", step.step()},
                           {"set", step.set()},
                           {"actor", step.actor()},
                           {"time", step.time()}});
      }
      Print({{"active", response.active()}, {"history", history}});
      return OkStatus();
    }
    Table table({{.title = "TIME"}, {.title = "STEP"}, {.title = "ACTOR"}, {.title = "SET"}});
    for (const v1::PolicyStep& step : response.history()) {
      table.AddRow({step.time(), step.step(), step.actor(), step.set()});
    }
    table.Print(terminal_.out, common_.headers);
    terminal_.out << "active: " << (response.active().empty() ? "none" : response.active()) << '\n';
    return OkStatus();
  }

  Status Propose() {
    v1::ProposePolicyRequest request;
    if (command_.schema_given) {
      ASSIGN_OR_RETURN(*request.mutable_schema(), ReadFile(command_.schema, kFileBytesMax));
    }
    ASSIGN_OR_RETURN(*request.mutable_policies(), ReadFile(command_.policies, kFileBytesMax));
    v1::ProposePolicyResponse response;
    RETURN_IF_ERROR(Call(&v1::PolicyAdminService::Stub::ProposePolicy, request, response));
    if (!response.warnings().empty()) {
      terminal_.err << response.warnings() << '\n';
    }
    terminal_.out << response.set() << '\n';
    return OkStatus();
  }

  Status Approve() {
    v1::ApprovePolicyRequest request;
    request.set_set(command_.set);
    v1::ApprovePolicyResponse response;
    return Call(&v1::PolicyAdminService::Stub::ApprovePolicy, request, response);
  }

  Status Activate() {
    v1::ActivatePolicyRequest request;
    request.set_set(command_.set);
    v1::ActivatePolicyResponse response;
    return Call(&v1::PolicyAdminService::Stub::ActivatePolicy, request, response);
  }

 private:
  Status ShowSet() {
    v1::GetPolicySetRequest request;
    request.set_set(command_.set);
    v1::GetPolicySetResponse response;
    RETURN_IF_ERROR(Call(&v1::PolicyAdminService::Stub::GetPolicySet, request, response));
    if (json()) {
      Print({{"set", response.set()},
             {"schema", response.schema()},
             {"policies", response.policies()}});
    } else {
      terminal_.out << response.policies();
    }
    return OkStatus();
  }

  template <typename Method, typename Request, typename Response>
  Status Call(Method method, const Request& request, Response& response) {
    return CallAdmin(*stub_, method, common_.timeout.value_or(kTimeout), request, response);
  }

  bool json() const { return common_.output == OutputFormat::kJson; }
  void Print(const Json& json) {
    terminal_.out << json.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  }

  const CommonOptions& common_;
  const PolicyCommand& command_;
  Terminal& terminal_;
  const std::unique_ptr<v1::PolicyAdminService::Stub> stub_;
};

}  // namespace

ExitCode RunPolicyAdmin(const CommonOptions& common,
                        const PolicyCommand& command,
                        Terminal& terminal) {
  PolicyAdminRun run(common, command, terminal);
  const Status status = command.verb == "show"      ? run.Show()
                        : command.verb == "propose" ? run.Propose()
                        : command.verb == "approve" ? run.Approve()
                                                    : run.Activate();
  CommonOptions at_admin = common;
  at_admin.connection.endpoint = command.admin;
  return status.ok() ? ExitCode::kOk : FailCall(status, at_admin, terminal);
}

}  // namespace inferd
