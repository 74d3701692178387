#include "client/model_trust_commands.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/file.h"
#include "client/audit_text.h"
#include "client/commands.h"
#include "governance/keys/crypto.h"
#include "governance/keys/secret_files.h"
#include "governance/registry/model_signature.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPemBytesMax = 1 << 20;

CLI::App* Verb(CLI::App& model,
               const char* name,
               const std::string& what,
               const std::string& example,
               ModelTrustCommand& command) {
  CLI::App* verb =
      model.add_subcommand(name, what + "\n\nExamples:\n  inferctl model " + example + "\n");
  verb->add_option("path", command.path, "the model's folder, or its one file")->required();
  verb->add_option("--threads", command.threads, "that hash")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  verb->callback([&command, name] { command.verb = name; });
  return verb;
}

// The contents, with progress.
StatusOr<ModelContents> Hash(const ModelTrustCommand& command,
                             ModelHashOptions options,
                             Terminal& terminal) {
  Progress progress(terminal, Progress::Unit::kBytes);
  std::mutex mutex;
  options.threads = command.threads;
  options.progress = [&](uint64_t done, uint64_t total) {
    const std::lock_guard lock(mutex);
    progress.Show(done, total);
  };
  return HashModelFiles(command.path, options);
}

std::string NameOf(const std::string& path) {
  const fs::path canonical = fs::weakly_canonical(path);
  return canonical.filename().string();
}

ExitCode RunDigest(const CommonOptions& common,
                   const ModelTrustCommand& command,
                   Terminal& terminal) {
  const auto contents = Hash(command, {}, terminal);
  if (!contents.ok()) {
    return FailFile(contents.status(), command.path, terminal);
  }
  if (common.output == OutputFormat::kJson) {
    auto files = nlohmann::ordered_json::array();
    for (const ModelFileSize& file : contents->files) {
      files.push_back({{"path", file.path}, {"bytes", file.bytes}});
    }
    terminal.out << nlohmann::ordered_json(
                        {{"digest", "sha256:" + contents->root.Hex()}, {"files", std::move(files)}})
                        .dump(2)
                 << '\n';
  } else {
    terminal.out << "sha256:" << contents->root.Hex() << '\n';
  }
  return ExitCode::kOk;
}

StatusOr<ModelTrust> ReadTrust(const ModelTrustCommand& command) {
  ModelTrust trust;
  for (const std::string& path : command.public_keys) {
    ASSIGN_OR_RETURN(std::string pem, ReadFile(path, kPemBytesMax));
    trust.public_keys.push_back(std::move(pem));
  }
  if (!command.authorities.empty()) {
    ASSIGN_OR_RETURN(trust.authorities, ReadFile(command.authorities, kPemBytesMax));
  }
  return trust;
}

ExitCode RunVerify(const ModelTrustCommand& command, Terminal& terminal) {
  const auto text = ReadFile(command.signature, ModelSignature::kBundleBytesMax);
  const auto trust = ReadTrust(command);
  if (!text.ok() || !trust.ok()) {
    return FailFile(text.ok() ? trust.status() : text.status(), command.signature, terminal);
  }
  auto signature = ParseModelSignature(*text);
  if (!signature.ok()) {
    return FailFile(signature.status(), command.signature, terminal);
  }
  const auto signer = VerifyModelSignature(*signature, *trust);
  if (!signer.ok()) {
    PrintError(terminal, Message(signer.status()));
    return ExitCode::kVerificationFailed;
  }
  ModelSerialization serialization = signature->statement.serialization;
  // A signature inside the folder never covers itself.
  std::error_code error;
  const fs::path inside = fs::relative(command.signature, command.path, error);
  if (!error && !inside.empty() && *inside.begin() != "..") {
    serialization.ignore_paths.push_back(inside.string());
  }
  const auto contents = Hash(command, {.serialization = serialization}, terminal);
  if (!contents.ok()) {
    return FailFile(contents.status(), command.path, terminal);
  }
  const std::string difference =
      DescribeDifference(signature->statement.resources, contents->resources);
  if (!difference.empty()) {
    PrintError(terminal, "the model is not what was signed: " + difference);
    return ExitCode::kVerificationFailed;
  }
  terminal.out << "verified: " << contents->files.size() << " files, signed by " << *signer << '\n';
  return ExitCode::kOk;
}

ExitCode RunSign(const ModelTrustCommand& command, Terminal& terminal) {
  ModelStatement statement;
  statement.name = NameOf(command.path);
  // Whole files: the specification's own command verifies nothing else.
  statement.serialization.method = ModelSerialization::Method::kFiles;
  std::error_code error;
  const fs::path inside = fs::relative(command.signature, command.path, error);
  if (!error && !inside.empty() && *inside.begin() != "..") {
    statement.serialization.ignore_paths = {inside.string()};
  }
  auto contents = Hash(command, {.also = statement.serialization}, terminal);
  if (!contents.ok()) {
    return FailFile(contents.status(), command.path, terminal);
  }
  statement.resources = std::move(contents->also);
  statement.root = RootDigest(statement.resources);
  auto key = ReadSecretFile(command.key);
  if (!key.ok()) {
    return FailFile(key.status(), command.key, terminal);
  }
  const auto bundle = SignModel(statement, *key);
  Cleanse(*key);
  if (!bundle.ok()) {
    return FailFile(bundle.status(), command.key, terminal);
  }
  std::ofstream file(command.signature, std::ios::binary);
  if (!(file << *bundle) || !file.flush()) {
    return FailFile(ErrorF(StatusCode::kUnavailable, "%s: cannot be written", command.signature),
                    command.signature,
                    terminal);
  }
  terminal.out << "sha256:" << contents->root.Hex() << '\n';
  return ExitCode::kOk;
}

}  // namespace

void AddModelTrustCommands(CLI::App& model, ModelTrustCommand& command) {
  Verb(model,
       "digest",
       "Prints the digest that names a model (OpenSSF Model Signing v1.0, shards of 1 GB), without "
       "a daemon.",
       "digest models/llama",
       command);
  CLI::App* verify = Verb(model,
                          "verify",
                          "Checks that a model is what somebody trusted signed: every file, and "
                          "no other.",
                          "verify models/llama --signature llama.sig --public-key approver.pem",
                          command);
  verify->add_option("--signature", command.signature, "the bundle")->required();
  verify->add_option("--public-key", command.public_keys, "PEM of a P-256, P-384 or P-521 key");
  verify->add_option("--authorities",
                     command.authorities,
                     "PEM certificates, for signatures by "
                     "certificate");
  CLI::App* sign = Verb(model,
                        "sign",
                        "Signs a model's files with a key, into a Sigstore bundle, and prints the "
                        "model's digest.",
                        "sign models/llama --key signer.pem --signature llama.sig",
                        command);
  sign->add_option("--key", command.key, "PEM of the secret key, in a file of mode 0600")
      ->required();
  sign->add_option("--signature", command.signature, "where the bundle goes")->required();
}

ExitCode RunModelTrust(const CommonOptions& common,
                       const ModelTrustCommand& command,
                       Terminal& terminal) {
  if (command.verb == "digest") {
    return RunDigest(common, command, terminal);
  }
  return command.verb == "verify" ? RunVerify(command, terminal) : RunSign(command, terminal);
}

}  // namespace inferd
