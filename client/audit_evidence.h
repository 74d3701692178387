// inferctl audit export --tenant/--rid and audit verify --bundle: evidence in one file, checked
// offline.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "client/audit_command_line.h"
#include "client/command_line.h"
#include "client/exit_code.h"
#include "client/terminal.h"
#include "governance/verify/trust_policy.h"

namespace inferd {

// The text of the policy file that the command names, or a policy of this one log without
// witnesses.
StatusOr<std::string> ReadPolicy(const AuditCommand& command, const std::string& log_key);

// Writes the bundle to command.out, whole or not at all, and verifies it before it gets its name.
StatusOr<ExitCode> ExportEvidence(const CommonOptions& common,
                                  const AuditCommand& command,
                                  const std::string& log_folder,
                                  const std::string& log_key,
                                  const std::function<void(uint64_t, uint64_t)>& progress,
                                  Terminal& terminal);

// Needs no daemon: command.bundle, and whom to trust.
StatusOr<ExitCode> VerifyBundle(const CommonOptions& common,
                                const AuditCommand& command,
                                Terminal& terminal);

}  // namespace inferd
