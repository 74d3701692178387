#include <ostream>

#include "client/commands.h"

namespace inferd {
namespace {

// Calls what each command names.
struct Runner {
  const CommonOptions& common;
  Terminal& terminal;

  ExitCode operator()(const GenerateCommand& c) const { return RunGenerate(common, c, terminal); }
  ExitCode operator()(const ChatCommand& c) const { return RunChat(common, c, terminal); }
  ExitCode operator()(const InspectCommand& c) const { return RunInspect(common, c, terminal); }
  ExitCode operator()(const ModelListCommand&) const { return RunModelList(common, terminal); }
  ExitCode operator()(const ModelGetCommand& c) const { return RunModelGet(common, c, terminal); }
  ExitCode operator()(const TokenizeCommand& c) const { return RunTokenize(common, c, terminal); }
  ExitCode operator()(const TemplateCommand& c) const { return RunTemplate(c, terminal); }
  ExitCode operator()(const StatusCommand&) const { return RunStatus(common, terminal); }
  ExitCode operator()(const BenchCommand& c) const { return RunBench(common, c, terminal); }
  ExitCode operator()(const AuditCommand& c) const { return RunAudit(common, c, terminal); }
  ExitCode operator()(const RegistryCommand& c) const { return RunRegistry(common, c, terminal); }
  ExitCode operator()(const ModelTrustCommand& c) const {
    return RunModelTrust(common, c, terminal);
  }
  ExitCode operator()(const QueueCommand& c) const { return RunQueue(common, c, terminal); }
  ExitCode operator()(const IdentityCommand& c) const { return RunIdentity(common, c, terminal); }
  ExitCode operator()(const PolicyCommand& c) const { return RunPolicy(common, c, terminal); }
  ExitCode operator()(const ReplayCommand& c) const { return RunReplay(common, c, terminal); }
  ExitCode operator()(const QuotaCommand& c) const { return RunQuota(common, c, terminal); }
  ExitCode operator()(const KeysInitCommand& c) const { return RunKeysInit(c, terminal); }
  ExitCode operator()(const CertDevCommand& c) const { return RunCertDev(c, terminal); }
  ExitCode operator()(const KeysSignerCommand& c) const { return RunKeysSigner(c, terminal); }
  ExitCode operator()(const CompletionCommand& c) const { return RunCompletion(c, terminal); }
  ExitCode operator()(const VersionCommand&) const {
    terminal.out << "inferctl " << INFERD_VERSION << '\n';
    return ExitCode::kOk;
  }
};

}  // namespace

ExitCode RunInferctl(const std::vector<std::string>& arguments, Terminal& terminal) {
  const auto parsed = ParseCommandLine(arguments, terminal);
  if (const auto* code = std::get_if<ExitCode>(&parsed)) {
    return *code;
  }
  const auto& invocation = std::get<Invocation>(parsed);
  terminal.color = terminal.color && invocation.common.color;
  const ExitCode code = std::visit(Runner{invocation.common, terminal}, invocation.command);
  terminal.out.flush();
  if (!terminal.out && code == ExitCode::kOk) {
    PrintError(terminal, "cannot write to standard output");
    return ExitCode::kFailure;
  }
  return code;
}

}  // namespace inferd
