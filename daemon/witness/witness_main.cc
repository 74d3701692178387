// inferd-witness: a tiny witness (C2SP tlog-witness). It cosigns the checkpoints of logs it was
// told of, as long as they only grow, and keeps nothing but the last one of each.
//
// Exit status: 0 ended by SIGTERM or SIGINT, 1 cannot start, 2 usage.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "base/file_batch.h"
#include "base/file_system.h"
#include "daemon/witness/witness_server.h"
#include "governance/keys/note_key.h"

namespace inferd {
namespace {

struct Arguments {
  std::string key_file;
  std::string folder;
  std::string listen = "127.0.0.1:8760";
  std::vector<std::string> logs;
};

StatusOr<NoteSigner> ReadKey(const std::string& path) {
  ASSIGN_OR_RETURN(NoteSigner signer, ReadNoteKey(path));
  if (signer.verifier().type() != NoteKeyType::kEd25519Cosignature) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "%s: a log's key; `inferctl keys signer --witness` makes a witness's",
                  path);
  }
  return signer;
}

// Until a signal ends it, which all threads must have blocked before the first is started.
Status Serve(const Arguments& arguments, const sigset_t& signals) {
  ASSIGN_OR_RETURN(const NoteSigner signer, ReadKey(arguments.key_file));
  Witness::Options options{.folder = arguments.folder, .signer = &signer, .logs = {}};
  for (const std::string& vkey : arguments.logs) {
    ASSIGN_OR_RETURN(NoteVerifier log, NoteVerifier::Parse(vkey));
    options.logs.push_back(std::move(log));
  }
  RETURN_IF_ERROR(CreateFoldersDurably(SystemFiles(), arguments.folder));
  ASSIGN_OR_RETURN(const auto lock, SystemFiles().Lock(arguments.folder + "/lock"));
  Witness witness(std::move(options));
  ASSIGN_OR_RETURN(const auto server,
                   WitnessServer::Start(arguments.listen, witness, SystemClock()));
  const std::string host = arguments.listen.substr(0, arguments.listen.rfind(':'));
  std::printf("witness %s on http://%s:%d\n",
              signer.verifier().VKey().c_str(),
              host.c_str(),
              int{server->port()});
  std::fflush(stdout);
  int signal = 0;
  sigwait(&signals, &signal);
  return OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app{"Cosigns the checkpoints of audit logs that only grow."};
  app.footer(
      "Example:\n"
      "  inferctl keys signer --witness --name w1.example.org --out witness.key\n"
      "  inferd-witness --key witness.key --folder /var/lib/inferd-witness \\\n"
      "    --log example.org/inferd-audit/db7+1a2b3c4d+AV...\n"
      "A log's policy file then has the lines\n"
      "  witness w1 <the public key that is printed> http://127.0.0.1:8760\n"
      "  quorum w1\n"
      "Exit status: 0 ended by a signal, 1 cannot start, 2 usage.");
  Arguments arguments;
  app.add_option("--key", arguments.key_file, "its secret key, mode 0600")->required();
  app.add_option("--folder", arguments.folder, "where it keeps what it saw; made if need be")
      ->required();
  app.add_option("--log", arguments.logs, "public key of a log; may be repeated")->required();
  app.add_option("--listen", arguments.listen, "IP:PORT; port 0: the system picks one")
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const Status status = Serve(arguments, signals);
  if (!status.ok()) {
    std::fprintf(stderr, "inferd-witness: %s\n", std::string(Message(status)).c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) { return inferd::Main(argc, argv); }
