// What each command of inferctl does. All block; errors are printed where they arise, and the exit
// code tells of them.
#pragma once

#include <string>
#include <vector>

#include "client/command_line.h"
#include "client/generation_client.h"
#include "client/load_generator.h"
#include "client/terminal.h"

namespace inferd {

// The whole program: the arguments after its name to its exit code.
ExitCode RunInferctl(const std::vector<std::string>& arguments, Terminal& terminal);

// With a daemon.
ExitCode RunGenerate(const CommonOptions& common, const GenerateCommand& command, Terminal&);
ExitCode RunChat(const CommonOptions& common, const ChatCommand& command, Terminal&);
ExitCode RunModelList(const CommonOptions& common, Terminal&);
ExitCode RunModelGet(const CommonOptions& common, const ModelGetCommand& command, Terminal&);
ExitCode RunStatus(const CommonOptions& common, Terminal&);
ExitCode RunBench(const CommonOptions& common, const BenchCommand& command, Terminal&);

ExitCode RunAudit(const CommonOptions& common, const AuditCommand& command, Terminal&);
ExitCode RunQueue(const CommonOptions& common, const QueueCommand& command, Terminal&);
ExitCode RunReplay(const CommonOptions& common, const ReplayCommand& command, Terminal&);
ExitCode RunIdentity(const CommonOptions& common, const IdentityCommand& command, Terminal&);

// Without one; tokenize asks it if no file is named.
ExitCode RunInspect(const CommonOptions& common, const InspectCommand& command, Terminal&);
ExitCode RunTokenize(const CommonOptions& common, const TokenizeCommand& command, Terminal&);
ExitCode RunTemplate(const TemplateCommand& command, Terminal&);
ExitCode RunCompletion(const CompletionCommand& command, Terminal&);
ExitCode RunKeysInit(const KeysInitCommand& command, Terminal&);
ExitCode RunQuota(const CommonOptions& common, const QuotaCommand& command, Terminal&);
// What asks a daemon.
ExitCode RunPolicyAdmin(const CommonOptions& common, const PolicyCommand& command, Terminal&);
ExitCode RunPolicy(const CommonOptions& common, const PolicyCommand& command, Terminal&);
ExitCode RunModelTrust(const CommonOptions& common, const ModelTrustCommand& command, Terminal&);
ExitCode RunRegistry(const CommonOptions& common, const RegistryCommand& command, Terminal&);
ExitCode RunCertDev(const CertDevCommand& command, Terminal&);
// A key pair of who exports evidence or witnesses: the secret in a new file of mode 0600, the
// public key on standard output.
ExitCode RunKeysSigner(const KeysSignerCommand& command, Terminal&);

// Shared by the commands.
// Prints the status of a call, with advice, and gives its exit code.
ExitCode FailCall(const Status& status, const CommonOptions& common, Terminal& terminal);
// The same for a status of reading `path`.
ExitCode FailFile(const Status& status, const std::string& path, Terminal& terminal);
// `asked`, or the one model that the daemon serves if it is empty.
StatusOr<std::string> ChooseModel(GenerationClient& client,
                                  const std::string& asked,
                                  const CommonOptions& common);
// The JSON documents, indented, without a final new line.
std::string ToJson(const GenerationResult& result);
std::string ToJson(const std::vector<ServedModel>& models);
std::string ToJson(const ServedModel& model);
std::string ToJson(const BenchCommand& command, const std::string& model, const LoadReport& report);

}  // namespace inferd
