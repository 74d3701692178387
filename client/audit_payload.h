// inferctl payload: looking at a prompt and its answer, by two persons.
#pragma once

#include "client/audit_client.h"
#include "client/audit_command_line.h"
#include "client/command_line.h"
#include "client/exit_code.h"
#include "client/terminal.h"

namespace inferd {

StatusOr<ExitCode> RunPayload(const CommonOptions& common,
                              const AuditCommand& command,
                              AuditClient& client,
                              Terminal& terminal);

}  // namespace inferd
