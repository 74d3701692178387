#include "client/registry_commands.h"

#include <CLI/CLI.hpp>
#include <ostream>

#include "absl/strings/str_join.h"
#include "client/admin_call.h"
#include "client/audit_text.h"
#include "client/commands.h"
#include "client/table.h"
#include "client/wire_text.h"
#include "governance/registry/model_registry.h"
#include "inferd/v1/registry.grpc.pb.h"

namespace inferd {
namespace {

constexpr Duration kAdminTimeout = std::chrono::seconds(30);
constexpr Duration kAddTimeout = std::chrono::hours(4);  // files of hundreds of GB
using Kind = ModelReference::Kind;

// What happened, in a sentence.
std::string Sentence(const v1::RegistryChange& change) {
  const std::string version = change.model() + ':' + change.version();
  const std::string alias = change.model() + '#' + change.alias();
  if (change.step() == "registered") {
    return absl::StrFormat("%s is registered, %s%s",
                           version,
                           change.digest(),
                           change.signer().empty() ? "" : ", signed by " + change.signer());
  }
  if (change.step() == "approved") {  // of two that it needs
    return absl::StrFormat("%s has the approval of %s", version, OneLine(change.actor(), 80));
  }
  if (change.step() == "rollout_proposed") {
    return absl::StrFormat("%s is proposed for %s", version, alias);
  }
  if (change.step() == "rollout_approved") {
    return absl::StrFormat("%s may have sessions of %s", version, alias);
  }
  if (change.step() == "canary") {
    return absl::StrFormat("%s has %d %% of the sessions of %s", version, change.percent(), alias);
  }
  if (change.step() == "alias_moved" || change.step() == "rolled_back") {
    return absl::StrFormat("%s is %s", alias, version);
  }
  return absl::StrFormat("%s is %s", version, change.step());
}

class Runner {
 public:
  Runner(const CommonOptions& common, const RegistryCommand& command, Terminal& terminal)
      : common_(common),
        command_(command),
        terminal_(terminal),
        json_(command.json || common.output == OutputFormat::kJson),
        stub_(v1::RegistryService::NewStub(AdminChannel(command.admin))) {
    context_.set_deadline(SystemClock().WallNow() + common.timeout.value_or(command.verb == "add"
                                                                                ? kAddTimeout
                                                                                : kAdminTimeout));
  }

  ExitCode Run() {
    if (command_.verb == "versions") {
      v1::ListVersionsRequest request;
      request.set_model(command_.model);
      v1::ListVersionsResponse response;
      return Show(stub_->ListVersions(&context_, request, &response), response, [&] {
        PrintVersions(response);
      });
    }
    auto reference = ParseModelReference(command_.model);
    const Kind wanted = WantedKind();
    if (reference.ok() && wanted == Kind::kAlias && reference->kind == Kind::kName) {
      reference->kind = Kind::kAlias;
      reference->label = ModelRegistry::kDefaultAlias;
    }
    if (!reference.ok() || reference->kind != wanted) {
      PrintError(terminal_,
                 absl::StrFormat("%s: is not MODEL%s",
                                 OneLine(command_.model, 200),
                                 wanted == Kind::kVersion ? ":VERSION"
                                 : wanted == Kind::kAlias ? "#ALIAS"
                                                          : ""));
      return ExitCode::kUsage;
    }
    if (command_.verb == "history") {
      v1::GetHistoryRequest request;
      request.set_model(reference->name);
      v1::GetHistoryResponse response;
      return Show(stub_->GetHistory(&context_, request, &response), response, [&] {
        PrintHistory(response);
      });
    }
    if (command_.verb == "bom") {
      return Bom(*reference);
    }
    return wanted == Kind::kVersion ? OfVersion(*reference) : OfAlias(*reference);
  }

 private:
  Kind WantedKind() const {
    for (const char* verb : {"add", "approve", "revoke", "bom"}) {
      if (command_.verb == verb) {
        return Kind::kVersion;
      }
    }
    return command_.verb == "history" ? Kind::kName : Kind::kAlias;
  }

  ExitCode OfVersion(const ModelReference& reference) {
    if (command_.verb == "add") {
      return Add(reference);
    }
    if (command_.verb == "approve") {
      v1::ApproveModelRequest request;
      request.set_model(reference.name);
      request.set_version(reference.label);
      v1::ApproveModelResponse response;
      return ShowStep(stub_->ApproveModel(&context_, request, &response), response);
    }
    v1::RevokeModelRequest request;
    request.set_model(reference.name);
    request.set_version(reference.label);
    v1::RevokeModelResponse response;
    return ShowStep(stub_->RevokeModel(&context_, request, &response), response);
  }

  ExitCode OfAlias(const ModelReference& reference) {
    if (command_.verb == "canary") {
      v1::SetCanaryRequest request;
      request.set_model(reference.name);
      request.set_alias(reference.label);
      request.set_percent(command_.percent);
      v1::SetCanaryResponse response;
      return ShowStep(stub_->SetCanary(&context_, request, &response), response);
    }
    if (command_.verb == "rollback") {
      v1::RollBackAliasRequest request;
      request.set_model(reference.name);
      request.set_alias(reference.label);
      v1::RollBackAliasResponse response;
      return ShowStep(stub_->RollBackAlias(&context_, request, &response), response);
    }
    if (command_.approve) {
      v1::ApproveAliasRequest request;
      request.set_model(reference.name);
      request.set_alias(reference.label);
      v1::ApproveAliasResponse response;
      return ShowStep(stub_->ApproveAlias(&context_, request, &response), response);
    }
    v1::ProposeAliasRequest request;
    request.set_model(reference.name);
    request.set_alias(reference.label);
    request.set_version(command_.version);
    v1::ProposeAliasResponse response;
    return ShowStep(stub_->ProposeAlias(&context_, request, &response), response);
  }

  ExitCode Add(const ModelReference& reference) {
    v1::AddModelRequest request;
    request.set_model(reference.name);
    request.set_version(reference.label);
    request.set_path(command_.path);
    request.set_signature_path(command_.signature);
    Progress progress(terminal_, Progress::Unit::kBytes);
    const auto reader = stub_->AddModel(&context_, request);
    v1::AddModelResponse message;
    while (reader->Read(&message)) {
      if (!message.has_change()) {
        progress.Show(message.hashed_bytes(), message.total_bytes());
      }
    }
    return ShowStep(reader->Finish(), message);
  }

  // Of files here, which must be what was registered.
  ExitCode Bom(const ModelReference& reference) {
    v1::ListVersionsRequest request;
    request.set_model(reference.name);
    v1::ListVersionsResponse response;
    const grpc::Status status = stub_->ListVersions(&context_, request, &response);
    if (!status.ok()) {
      return Fail(status);
    }
    const auto contents = HashModelFiles(command_.path, {});
    const auto bom = contents.ok() ? ModelBom(command_.path, reference.name, reference.label)
                                   : StatusOr<std::string>(contents.status());
    if (!bom.ok()) {
      return FailFile(bom.status(), command_.path, terminal_);
    }
    for (const v1::RegisteredVersion& version : response.versions()) {
      if (version.version() != reference.label) {
        continue;
      }
      if (version.digest() != "sha256:" + contents->root.Hex() ||
          version.files_digest() != "sha256:" + FilesDigest(*contents).Hex()) {
        PrintError(terminal_, "these files are not what was registered as " + reference.Text());
        return ExitCode::kVerificationFailed;
      }
      terminal_.out << *bom << '\n';
      return ExitCode::kOk;
    }
    PrintError(terminal_, reference.Text() + " is not registered");
    return ExitCode::kNotFound;
  }

  ExitCode Fail(const grpc::Status& status) {
    CommonOptions at_admin = common_;
    at_admin.connection.endpoint = command_.admin;  // for errors: the endpoint that was asked
    return FailCall(StatusFromWire(status), at_admin, terminal_);
  }

  template <typename Print>
  ExitCode Show(const grpc::Status& status,
                const google::protobuf::Message& response,
                const Print& print) {
    if (!status.ok()) {
      return Fail(status);
    }
    if (json_) {
      terminal_.out << JsonOf(response);
    } else {
      print();
    }
    return ExitCode::kOk;
  }

  template <typename Response>
  ExitCode ShowStep(const grpc::Status& status, const Response& response) {
    return Show(
        status, response.change(), [&] { terminal_.out << Sentence(response.change()) << '\n'; });
  }

  void PrintVersions(const v1::ListVersionsResponse& response) {
    Table table({{"VERSION"}, {"STAGE"}, {"RESIDENT"}, {"APPROVED BY"}, {"SIGNER"}, {"DIGEST"}});
    for (const v1::RegisteredVersion& version : response.versions()) {
      table.AddRow({version.model() + ':' + version.version(),
                    version.stage(),
                    version.resident() ? "yes" : "no",
                    OneLine(absl::StrJoin(version.approvers(), " "), 60),
                    OneLine(version.signer(), 40),
                    version.digest().substr(0, 19)});
    }
    table.Print(terminal_.out, common_.headers);
    for (const v1::RegisteredAlias& alias : response.aliases()) {
      terminal_.out << alias.model() << '#' << alias.alias() << " is "
                    << (alias.version().empty() ? "nothing yet" : alias.version())
                    << Unanswered(response, alias.model(), alias.version());
      if (!alias.rollout_version().empty()) {
        terminal_.out << absl::StrFormat(", %s on its way (%s)",
                                         alias.rollout_version(),
                                         alias.rollout_approved_by().empty()
                                             ? "not approved"
                                             : std::to_string(alias.rollout_percent()) + " %")
                      << (alias.rollout_percent() == 0
                              ? ""
                              : Unanswered(response, alias.model(), alias.rollout_version()));
      }
      terminal_.out << '\n';
    }
  }

  // Why callers of what an alias names are refused; "" if they are not.
  static const char* Unanswered(const v1::ListVersionsResponse& response,
                                const std::string& model,
                                const std::string& name) {
    for (const v1::RegisteredVersion& version : response.versions()) {
      if (version.model() == model && version.version() == name) {
        return version.stage() == "revoked" ? ", which was revoked: its callers are refused"
               : version.resident()         ? ""
                                            : ", which is not in memory: its callers are refused";
      }
    }
    return "";
  }

  void PrintHistory(const v1::GetHistoryResponse& response) {
    for (const v1::RegistryChange& change : response.changes()) {
      terminal_.out << MinuteOf(change.at()) << "  " << OneLine(change.actor(), 80) << ": "
                    << Sentence(change) << '\n';
    }
  }

  const CommonOptions& common_;
  const RegistryCommand& command_;
  Terminal& terminal_;
  const bool json_;
  const std::unique_ptr<v1::RegistryService::Stub> stub_;
  grpc::ClientContext context_;
};

CLI::App* Add(CLI::App& noun,
              const char* verb,
              const std::string& what,
              const std::string& example,
              RegistryCommand& command,
              const char* argument,
              const char* meaning) {
  CLI::App* const app =
      noun.add_subcommand(verb, what + "\n\nExamples:\n  inferctl model " + example + "\n");
  app->add_option(argument, command.model, meaning)->required(std::string(argument) != "model");
  app->add_option("--admin", command.admin, "inferd's admin plane: unix:PATH")
      ->envname("INFERCTL_ADMIN")
      ->capture_default_str();
  app->add_flag("--json", command.json, "the same as -o json");
  app->callback([&command, verb] { command.verb = verb; });
  return app;
}

constexpr char kVersion[] = "MODEL:VERSION";
constexpr char kAlias[] = "MODEL#ALIAS; MODEL alone stands for MODEL#default";

}  // namespace

void AddRegistryCommands(CLI::App& model, RegistryCommand& command) {
  CLI::App* add = Add(model,
                      "add",
                      "Registers files that lie on the daemon's host as a version.",
                      "add llama:2 /models/llama-2 --signature /models/llama-2.sig",
                      command,
                      "name",
                      kVersion);
  add->add_option("path", command.path, "the GGUF file or the folder, on the daemon's host")
      ->required();
  add->add_option("--signature", command.signature, "a bundle, on the daemon's host");
  Add(model,
      "approve",
      "Approves a version; two persons do, neither of whom added it.",
      "approve llama:2",
      command,
      "name",
      kVersion);
  CLI::App* alias = Add(model,
                        "alias",
                        "Puts an approved version on its way to an alias; a second person approves "
                        "that.",
                        "alias llama#default 2\n  inferctl model alias llama#default --approve",
                        command,
                        "name",
                        kAlias);
  CLI::Option* version = alias->add_option("version", command.version, "what it is to name");
  alias->add_flag("--approve", command.approve, "approve what another person proposed")
      ->excludes(version);
  Add(model,
      "canary",
      "Gives the version that is on its way so many of a hundred sessions; 100: all.",
      "canary llama#default 5",
      command,
      "name",
      kAlias)
      ->add_option("percent", command.percent, "1 to 100")
      ->required()
      ->check(CLI::Range(1, 100));
  Add(model,
      "rollback",
      "Ends what is on its way, or else gives the alias what it named before.",
      "rollback llama#default",
      command,
      "name",
      kAlias);
  Add(model,
      "revoke",
      "Takes a version back for good: nobody is served by its bytes from now on.",
      "revoke llama:2",
      command,
      "name",
      kVersion);
  Add(model,
      "versions",
      "Shows versions, who approved them, and what aliases name.",
      "versions llama",
      command,
      "model",
      "of this model alone");
  Add(model,
      "history",
      "Shows every step that a model took, and who took it.",
      "history llama",
      command,
      "name",
      "MODEL");
  Add(model,
      "bom",
      "Writes a bill of materials (CycloneDX 1.6) of a registered version, from its files.",
      "bom llama:2 /models/llama-2",
      command,
      "name",
      kVersion)
      ->add_option("path", command.path, "its files, on this host")
      ->required();
}

ExitCode RunRegistry(const CommonOptions& common,
                     const RegistryCommand& command,
                     Terminal& terminal) {
  return Runner(common, command, terminal).Run();
}

}  // namespace inferd
