// What erase and hold do, over the admin plane.
#pragma once

#include "client/audit_client.h"
#include "client/command_line.h"

namespace inferd {

StatusOr<ExitCode> RunRetention(const CommonOptions& common,
                                const AuditCommand& command,
                                AuditClient& client,
                                Terminal& terminal);

}  // namespace inferd
