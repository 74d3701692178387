#include <nlohmann/json.hpp>
#include <ostream>

#include "base/file.h"
#include "client/commands.h"
#include "governance/policy/policy_review.h"

namespace inferd {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kFileBytesMax = uint64_t{64} << 20;

// Runs one verb; stops at the first file that is not what it should be.
class PolicyRun {
 public:
  PolicyRun(const PolicyCommand& command, bool json, Terminal& terminal)
      : command_(command), json_(json), terminal_(terminal) {}

  StatusOr<ExitCode> Lint() {
    ASSIGN_OR_RETURN(const auto set, Set(command_.policies));
    if (json_) {
      Print({{"digest", "sha256:" + set->digest().Hex()},
             {"rules", set->rules().size()},
             {"warnings", set->warnings()}});
    } else {
      terminal_.out << "sha256:" << set->digest().Hex() << "  " << set->rules().size()
                    << " rules\n";
      if (!set->warnings().empty()) {
        terminal_.err << set->warnings() << '\n';
      }
    }
    return ExitCode::kOk;
  }

  StatusOr<ExitCode> Test() {
    ASSIGN_OR_RETURN(const auto set, Set(command_.policies));
    ASSIGN_OR_RETURN(const auto authorizer, Authorizer(set));
    ASSIGN_OR_RETURN(const auto tests, Requests());
    const PolicyTestRun run = RunTests(*authorizer, tests);
    if (json_) {
      Print({{"passed", run.num_passed},
             {"failed", run.num_failed},
             {"failures", FindingsJson(run.failures)}});
    } else {
      PrintFindings(run.failures);
      terminal_.out << run.num_passed << " passed, " << run.num_failed << " failed\n";
    }
    return run.num_failed == 0 ? ExitCode::kOk : ExitCode::kFailure;
  }

  StatusOr<ExitCode> Compare() {
    ASSIGN_OR_RETURN(const auto before, Set(command_.policies));
    ASSIGN_OR_RETURN(const auto after, Set(command_.after));
    const PolicyDiff diff = Diff(*before, *after);
    if (!json_) {
      terminal_.out << ToText(diff);
      return ExitCode::kOk;
    }
    Json removed = Json::array();
    Json changed = Json::array();
    Json added = Json::array();
    for (const PolicyRule& rule : diff.removed) {
      removed.push_back({{"id", rule.id}, {"text", rule.text}});
    }
    for (const PolicyDiff::Changed& rule : diff.changed) {
      changed.push_back(
          {{"id", rule.after.id}, {"before", rule.before.text}, {"after", rule.after.text}});
    }
    for (const PolicyRule& rule : diff.added) {
      added.push_back({{"id", rule.id}, {"text", rule.text}});
    }
    Print({{"removed", removed}, {"changed", changed}, {"added", added}});
    return ExitCode::kOk;
  }

  StatusOr<ExitCode> SimulateBoth() {
    ASSIGN_OR_RETURN(const auto old_set, Set(command_.policies));
    ASSIGN_OR_RETURN(const auto new_set, Set(command_.after));
    ASSIGN_OR_RETURN(const auto before, Authorizer(old_set));
    ASSIGN_OR_RETURN(const auto after, Authorizer(new_set));
    ASSIGN_OR_RETURN(const auto requests, Requests());
    const Simulation simulation = Simulate(*before, *after, requests);
    if (json_) {
      Print({{"requests", simulation.num_requests},
             {"different", simulation.num_different},
             {"undecided", simulation.num_undecided},
             {"findings", FindingsJson(simulation.findings)}});
    } else {
      PrintFindings(simulation.findings);
      terminal_.out << simulation.num_requests << " requests, " << simulation.num_different
                    << " decided otherwise, " << simulation.num_undecided << " undecided\n";
    }
    return ExitCode::kOk;
  }

 private:
  StatusOr<std::string> Read(const std::string& path) {
    auto content = ReadFile(path, kFileBytesMax);
    return content.ok() ? content : Annotate(content.status(), path);
  }
  StatusOr<PolicySet::Pointer> Set(const std::string& path) {
    ASSIGN_OR_RETURN(const std::string schema, Read(command_.schema));
    ASSIGN_OR_RETURN(const std::string policies, Read(path));
    auto set = PolicySet::Parse(schema, policies);
    return set.ok() ? set : Annotate(set.status(), path);
  }
  StatusOr<std::unique_ptr<PolicyAuthorizer>> Authorizer(const PolicySet::Pointer& set) {
    ASSIGN_OR_RETURN(const std::string entities, Read(command_.entities));
    auto authorizer = PolicyAuthorizer::Make(set, entities, {});
    return authorizer.ok() ? std::move(authorizer)
                           : Annotate(authorizer.status(), command_.entities);
  }
  StatusOr<std::vector<RecordedLine>> Requests() {
    ASSIGN_OR_RETURN(const std::string text, Read(command_.requests));
    auto requests = ParseRecordedRequests(text);
    return requests.ok() ? requests : Annotate(requests.status(), command_.requests);
  }

  void Print(const Json& json) { terminal_.out << json.dump(2) << '\n'; }
  void PrintFindings(const std::vector<PolicyFinding>& findings) {
    for (const PolicyFinding& finding : findings) {
      terminal_.out << command_.requests << ':' << finding.line << ": " << finding.text << '\n';
    }
  }
  static Json FindingsJson(const std::vector<PolicyFinding>& findings) {
    Json list = Json::array();
    for (const PolicyFinding& finding : findings) {
      list.push_back({{"line", finding.line}, {"text", finding.text}});
    }
    return list;
  }

  const PolicyCommand& command_;
  const bool json_;
  Terminal& terminal_;
};

}  // namespace

ExitCode RunPolicy(const CommonOptions& common, const PolicyCommand& command, Terminal& terminal) {
  if (!command.admin.empty() && (command.verb == "show" || command.verb == "propose" ||
                                 command.verb == "approve" || command.verb == "activate")) {
    return RunPolicyAdmin(common, command, terminal);
  }
  PolicyRun run(command, common.output == OutputFormat::kJson, terminal);
  const auto code = command.verb == "lint"   ? run.Lint()
                    : command.verb == "test" ? run.Test()
                    : command.verb == "diff" ? run.Compare()
                                             : run.SimulateBoth();
  if (!code.ok()) {
    PrintError(terminal, Message(code.status()));
    return ExitCodeForFile(code.status());
  }
  return *code;
}

}  // namespace inferd
