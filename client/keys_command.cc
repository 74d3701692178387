#include <filesystem>
#include <ostream>

#include "client/commands.h"
#include "governance/keys/secret_files.h"
#include "governance/verify/note.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;

// 1 to 128 of a-z 0-9 . -, as a name in an origin.
bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= 128 &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-") == std::string_view::npos;
}

Status MakeSecrets(const KeysInitCommand& command, std::string& vkey) {
  if (!IsName(command.organisation) || !IsName(command.node)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "--organisation and --node are 1 to 128 of a-z 0-9 . -");
  }
  std::error_code error;
  if (fs::create_directories(command.directory, error)) {
    fs::permissions(command.directory, fs::perms::owner_all, error);
  }
  if (error) {
    return ErrorF(
        StatusCode::kUnavailable, "%s: cannot make: %s", command.directory, error.message());
  }
  // All or none: half a set of old secrets and half a new one would open nothing.
  for (const char* name : {kNoteKeyFile, kRootKekFile, kApiPepperFile, kSubjectPepperFile}) {
    const fs::path path = fs::path(command.directory) / name;
    if (fs::exists(path, error)) {
      return ErrorF(StatusCode::kAlreadyExists,
                    "%s: is there already; secrets are not overwritten",
                    path.string());
    }
  }
  ASSIGN_OR_RETURN(const NoteSigner signer,
                   NoteSigner::Generate(command.organisation + "/inferd-audit/" + command.node));
  std::string secret = signer.SKey() + "\n";
  const Status written = WriteSecretFile(command.directory + "/" + kNoteKeyFile, secret);
  Cleanse(secret);
  RETURN_IF_ERROR(written);
  for (const char* name : {kRootKekFile, kApiPepperFile, kSubjectPepperFile}) {
    RETURN_IF_ERROR(WriteKeyFile(command.directory + "/" + name, SecretKey::Random()));
  }
  vkey = signer.verifier().VKey();
  return OkStatus();
}

}  // namespace

ExitCode RunKeysInit(const KeysInitCommand& command, Terminal& terminal) {
  std::string vkey;
  const Status status = MakeSecrets(command, vkey);
  if (!status.ok()) {
    return FailFile(status, command.directory, terminal);
  }
  terminal.out << vkey << '\n';
  terminal.err << "Give this line to whoever verifies the log. Keep copies of the four files in "
               << command.directory << " apart from the data they open.\n";
  return ExitCode::kOk;
}

ExitCode RunKeysSigner(const KeysSignerCommand& command, Terminal& terminal) {
  const auto make = [&command]() -> StatusOr<std::string> {
    ASSIGN_OR_RETURN(const NoteSigner signer,
                     NoteSigner::Generate(command.name,
                                          command.witness ? NoteKeyType::kEd25519Cosignature
                                                          : NoteKeyType::kEd25519));
    std::string secret = signer.SKey() + "\n";
    const Status written = WriteSecretFile(command.out, secret);
    Cleanse(secret);
    RETURN_IF_ERROR(written);
    return signer.verifier().VKey();
  };
  const auto key = make();
  if (!key.ok()) {
    return FailFile(key.status(), command.out, terminal);
  }
  terminal.out << *key << '\n';
  return ExitCode::kOk;
}

}  // namespace inferd
