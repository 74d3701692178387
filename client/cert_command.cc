#include <filesystem>
#include <ostream>

#include "client/commands.h"
#include "governance/keys/dev_certificates.h"

namespace inferd {

ExitCode RunCertDev(const CertDevCommand& command, Terminal& terminal) {
  DevCertificates wanted;
  wanted.directory = command.directory;
  wanted.hosts = command.hosts;
  wanted.callers = command.callers;
  wanted.now = SystemClock().WallNow();
  std::error_code ignored;
  if (wanted.callers.empty() &&
      !std::filesystem::exists(command.directory + "/" + kDevCaFile, ignored)) {
    wanted.callers = {"spiffe://localhost/caller"};
  }
  const auto written = WriteDevCertificates(wanted);
  if (!written.ok()) {
    return FailFile(written.status(), command.directory, terminal);
  }
  for (const std::string& path : *written) {
    terminal.out << path << '\n';
  }
  terminal.err << "The daemon takes server.pem, server.key and ca.pem (listeners.data.tls); "
                  "callers take their own pair and ca.pem. Keep ca.key away from both.\n";
  return ExitCode::kOk;
}

}  // namespace inferd
